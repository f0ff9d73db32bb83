"""A run's report as one HTML file that needs no other file, no script and no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from mscn_plugin.checkpoints.io import CheckpointError, config_source
from mscn_plugin.errors import ConfigError, RunError
from mscn_plugin.evaluation.pretraining_run import PretrainingRun
from mscn_plugin.export.pretrained import Pretrained, describe, load_pretrained
from mscn_plugin.files import write_text
from mscn_plugin.models.input_channels import RGB
from mscn_plugin.report.accuracies import (
    about_accuracies,
    accuracy_rows,
    images_in_short,
    in_percent,
)
from mscn_plugin.report.curves import curves, pictures
from mscn_plugin.report.embedding import about_embedding
from mscn_plugin.report.evaluations import box_table, occlusion
from mscn_plugin.report.history import History
from mscn_plugin.report.kernels import blank_kernels, first_kernels, kernel_sheet
from mscn_plugin.report.neighbors import MAX_TRAIN_IMAGES, Neighborhood, nearest_neighbors
from mscn_plugin.report.pictures import (
    jpeg,
    picture_file,
    png,
)
from mscn_plugin.report.settings import important_settings
from mscn_plugin.report.template import filled

FILE_NAME = "report.html"
LEAST_KERNEL = 5  # pixels: a stem of 3 x 3 shows specks of color
THUMBNAIL_SIDE = 208  # pixels, twice what the page shows, for dense screens


def write_report(
    path: Path,
    output: Path | None = None,
    data: str | None = None,
    max_images: int | None = None,
) -> Path:
    """Write the report of a run of ``mscn_task``; MSCN must be registered with VISSL.

    Args:
        path: the run's checkpoint folder, for its newest checkpoint, or one of its checkpoints.
        output: the file to write; default: ``report.html`` beside the checkpoint.
        data: images for the neighbors, as ``config.MSCN.DATA`` takes them; default: the run's
            own. Where those are not there the page says so in their place.
        max_images: how many training images are searched for neighbors, at most; default:
            :data:`MAX_TRAIN_IMAGES`.

    Returns:
        The file that was written.

    Raises:
        ConfigError: it is no checkpoint of ``mscn_task`` with its ``train_config.yaml``, or
            ``data`` or ``output`` cannot be used.
        OSError: the file cannot be written.
    """
    max_images = MAX_TRAIN_IMAGES if max_images is None else max_images
    if max_images < 1:
        raise ConfigError(f"--max-images is {max_images}; it must be at least 1")
    run = read_run(path)
    output = run.folder / FILE_NAME if output is None else output
    if output.is_dir():
        raise ConfigError(f"--output {output} is a folder; it must be a file")
    pretrained = load_pretrained(run.checkpoint)
    try:
        page = render(run, pretrained, data, max_images)
    except (AttributeError, KeyError, TypeError) as error:
        source = run.checkpoint.parent / "train_config.yaml"
        raise CheckpointError(f"{source} is not a configuration of VISSL ({error!r})") from error
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, page)
    return output


def render(
    run: PretrainingRun,
    pretrained: Pretrained,
    data: str | None = None,
    max_images: int = MAX_TRAIN_IMAGES,
) -> str:
    """The page as text; arguments and errors as for :func:`write_report`."""
    assert run.config is not None
    folder = run.checkpoint.parent
    history = History.of(folder)
    content = {
        "title": f"Pre-training run {run.folder.name}",
        "about": _about(run, pretrained),
        "settings": important_settings(run),
        "configuration": (folder / "train_config.yaml").read_text(encoding="utf-8"),
        "curves": pictures(curves(history)),
        "embedding": about_embedding(history),
        "views": picture_file(folder / "masked_views.png"),
        "kernels": _kernels(run.checkpoint),
        "occlusion": occlusion(run),
        "boxes": box_table(run),
        **_accuracies(run.config, history, pretrained.epochs),
        **_neighbors(run.config, pretrained, data, max_images),
    }
    return filled("report", content)


def read_run(path: Path) -> PretrainingRun:
    """The run of ``path``, with its configuration; errors as for :func:`write_report`."""
    run = PretrainingRun.of(path)
    if run.config is None or config_source(run.checkpoint) == run.checkpoint:
        raise CheckpointError(
            f"{run.checkpoint} has no train_config.yaml beside it, from which the report takes the "
            "run's settings"
        )
    if "MSCN" not in run.config:
        raise CheckpointError(
            f"{run.checkpoint.parent / 'train_config.yaml'} has no config.MSCN; it must be of a "
            "run of mscn_task"
        )
    return run


def _about(run: PretrainingRun, pretrained: Pretrained) -> str:
    total = run.config["OPTIMIZER"]["num_epochs"] if run.config else None
    seen = "unknown" if pretrained.epochs is None else pretrained.epochs
    trunk = describe(pretrained.model_config)
    return f"{run.loss}, {trunk}. Checkpoint {run.checkpoint.name}, after {seen} of {total} epochs."


def _accuracies(config: dict[str, Any], history: History, epochs: int | None) -> dict[str, Any]:
    """Those up to the checkpoint, which has seen ``epochs``."""
    rows = [
        {"title": title, "values": in_percent(values)}
        for title, values in accuracy_rows(history, epochs)
    ]
    network = config["MSCN"].get("ONLINE_EVALUATION", {}).get("NETWORK", "online")
    caption = (
        f"From the run's own online evaluations of the {network} network: k nearest neighbors and "
        f"a logistic regression on the trunk's features. {about_accuracies(history, epochs)}"
    )
    return {
        "accuracies": rows,
        "accuracies_caption": caption,
        "measured": images_in_short(history.evaluations_until(epochs)),
        "no_accuracies": about_accuracies(history, epochs),
    }


def _kernels(checkpoint: Path) -> dict[str, str] | None:
    try:
        kernels = first_kernels(checkpoint)
    except CheckpointError:
        return None
    count, channels, height, width = kernels.shape
    blank = int(blank_kernels(kernels).sum())
    shown = "in color" if channels == RGB else f"those of the first of {channels} channels"
    if max(height, width) < LEAST_KERNEL:
        return {
            "too_small": f"Not drawn: the {count} kernels of the trunk's first convolution are of "
            f"{height} x {width} pixels, too few for a pattern to be seen in them. {blank} are "
            "blank, with a norm under a tenth of the median."
        }
    sheet = (kernel_sheet(kernels).permute(1, 2, 0) * 255).round().to(torch.uint8)
    return {
        "source": png(Image.fromarray(sheet.numpy())),
        "text": f"Grid of the {count} first-layer kernels, {height} x {width} pixels each",
        "caption": f"The {count} kernels of the trunk's first convolution, {height} x {width} "
        f"pixels, {shown}, the largest first. Gray is 0. {blank} are blank, with a norm "
        "under a tenth of the median.",
    }


def _neighbors(
    config: dict[str, Any], pretrained: Pretrained, data: str | None, max_images: int
) -> dict[str, Any]:
    try:
        found = nearest_neighbors(pretrained, config, data, max_images)
    except (ConfigError, RunError) as error:
        if data is not None:
            raise
        return {"queries": [], "no_neighbors": str(error)}
    return {"queries": _rows(found), "neighbors_text": _summary(found)}


def _summary(found: Neighborhood) -> str:
    return (
        "The training images whose features, of the online network's trunk, point most nearly the "
        f"way of a validation image's, among {found.searched}. Of such neighbors of "
        f"{found.judged} validation images, {found.share:.1f}% are of the image's own class, of "
        f"images at random {found.chance:.1f}% (chance); below are the first few of those images, "
        "of different classes where there are enough."
    )


def _rows(found: Neighborhood) -> list[dict[str, Any]]:
    return [
        {
            "source": jpeg(query.image, THUMBNAIL_SIDE),
            "label": query.label,
            "neighbors": [
                {
                    "source": jpeg(neighbor.image, THUMBNAIL_SIDE),
                    "label": neighbor.label,
                    "similarity": f"{neighbor.similarity:.3f}",
                    "top": f"top {neighbor.top:.2g}%",
                    "same_class": neighbor.same_class,
                }
                for neighbor in query.neighbors
            ],
        }
        for query in found.queries
    ]
