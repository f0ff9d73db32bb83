"""Which training images a trunk takes for the most similar ones to some validation images.

Shape shorthand: Q validation images, N training images, F features, k neighbors.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from vissl.config import AttrDict

from mscn_plugin.config.checks.evaluation import check_same_classes
from mscn_plugin.config.data import Folders, contents_of, resolve
from mscn_plugin.data.arrays import as_picture
from mscn_plugin.data.image_folder import PHOTOGRAPHS
from mscn_plugin.data.sources import SOURCES
from mscn_plugin.errors import ConfigError
from mscn_plugin.export.pretrained import Pretrained
from mscn_plugin.schema import with_defaults
from mscn_plugin.transforms.on_device import STAGE
from mscn_plugin.types import Config

if TYPE_CHECKING:
    from mscn_plugin.training.hooks.online_evaluation import EvaluationData

NUM_QUERIES = 6
NUM_NEIGHBORS = 6
MAX_VAL_IMAGES = 200
"""Of so many validation images the neighbors' classes are counted; a few alone are luck."""
MAX_TRAIN_IMAGES = 2000  # seconds for a small ResNet, some minutes for a ResNet-50 at 224 pixels


@dataclasses.dataclass(frozen=True)
class Neighbor:
    """A training image.

    Attributes:
        image: what the trunk sees of it, before normalization and filter.
        label: name of its class.
        similarity: cosine of the features' angle to the query's.
        top: percentage of all pairs of a validation and a training image that are at least as
            similar. The cosines of one trunk lie close together, often near 1.
        same_class: whether its class is the query's.
    """

    image: Image.Image
    label: str
    similarity: float
    top: float
    same_class: bool


@dataclasses.dataclass(frozen=True)
class Query:
    """A validation image with its neighbors, the most similar first."""

    image: Image.Image
    label: str
    neighbors: list[Neighbor]


@dataclasses.dataclass(frozen=True)
class Neighborhood:
    """Neighbors of a few validation images, and how good those of more of them are.

    Attributes:
        queries: validation images of different classes, where there are enough classes.
        searched: number of training images among which the neighbors are.
        judged: number of validation images of which the share is taken.
        share: percentage of their neighbors that are of their class.
        chance: the same of training images at random.
    """

    queries: list[Query]
    searched: int
    judged: int
    share: float
    chance: float


def nearest_neighbors(
    pretrained: Pretrained,
    config: dict[str, Any],
    data: str | None = None,
    max_images: int = MAX_TRAIN_IMAGES,
) -> Neighborhood:
    """Find the neighbors of a few validation images, the same ones in every run on the data.

    Transforms are those of the run's ``DATA.TEST``; images are chosen as for online evaluation.

    Args:
        config: the run's configuration; it is not changed.
        data: a folder in the place of the run's own, as ``config.MSCN.DATA`` takes it.
        max_images: of the training images to search.

    Raises:
        ConfigError: the images or their labels are not there.
        RunError: none of them can be read.
    """
    cfg = AttrDict(with_defaults(config))
    folders = _point_to_data(cfg, data)
    check_same_classes(cfg, folders)
    images, pictures = _images_and_pictures(cfg, max_images)
    (train, train_labels), (val, val_labels) = images.features(
        pretrained.features, torch.device("cpu")
    )
    cosines = cosine_similarities(torch.from_numpy(val), torch.from_numpy(train))
    similarities, indices = cosines.topk(min(NUM_NEIGHBORS, len(train)), dim=1)
    tops = percentage_as_large(similarities, cosines)
    same_class = train_labels[indices.numpy()] == val_labels[:, None]
    names = next((found.classes for split in folders.values() for found in split), [])

    def name(label: int) -> str:
        return names[label] if 0 <= label < len(names) else f"class {label}"

    queries = [
        Query(
            _picture(pictures.val[images.places["val"][query]], cfg),
            name(int(val_labels[query])),
            [
                Neighbor(
                    _picture(pictures.train[images.places["train"][index]], cfg),
                    name(int(train_labels[index])),
                    similarity,
                    top,
                    bool(same),
                )
                for index, similarity, top, same in zip(
                    indices[query].tolist(),
                    similarities[query].tolist(),
                    tops[query].tolist(),
                    same_class[query],
                )
            ],
        )
        for query in shown(val_labels.tolist())
    ]
    chance = (train_labels[None] == val_labels[:, None]).mean()
    return Neighborhood(
        queries, len(train), len(val), 100 * float(same_class.mean()), 100 * float(chance)
    )


def _images_and_pictures(cfg: Config, max_images: int) -> tuple[EvaluationData, EvaluationData]:
    """The images as the trunk sees them, and the same as pictures: both of the same places."""
    from mscn_plugin.training.hooks.online_evaluation import EvaluationData

    settings = cfg.MSCN.ONLINE_EVALUATION
    settings.MAX_TRAIN_IMAGES = min(settings.MAX_TRAIN_IMAGES, max_images)
    settings.MAX_VAL_IMAGES = min(settings.MAX_VAL_IMAGES, MAX_VAL_IMAGES)
    cfg.DATA.NUM_DATALOADER_WORKERS = 0
    # The trunk's filter is applied after the transforms, which may have it or not.
    transforms = [t for t in cfg.DATA.TEST.TRANSFORMS if t["name"] != "MSCNHighPass"]
    cfg.DATA.TEST.TRANSFORMS = transforms
    images = EvaluationData.of(cfg)
    cfg.DATA.TEST.TRANSFORMS = list(
        itertools.takewhile(lambda transform: transform["name"] not in STAGE, transforms)
    )
    pictures = EvaluationData.of(cfg) if cfg.DATA.TEST.TRANSFORMS else None
    if images is None or pictures is None:
        raise ConfigError(
            "config.DATA.TRAIN.LABEL_SOURCES or config.DATA.TEST.TRANSFORMS is empty; without "
            "labels, or without a resize and crop, there is nothing to compare"
        )
    return images, pictures


def shown(labels: Sequence[int], count: int = NUM_QUERIES) -> list[int]:
    """Places of ``count`` images: the first of each class, then the next ones, in order."""
    firsts = sorted({label: place for place, label in reversed(list(enumerate(labels)))}.values())
    others = [place for place in range(len(labels)) if place not in firsts]
    return [*firsts, *others][:count]


def cosine_similarities(queries: Tensor, images: Tensor) -> Tensor:
    """Cosines ``[Q, N]`` of the features ``[Q, F]`` and ``[N, F]``."""
    return F.normalize(queries, dim=1) @ F.normalize(images, dim=1).T


def percentage_as_large(values: Tensor, everything: Tensor) -> Tensor:
    """Of each of ``values``, the percentage of ``everything`` that is at least as large."""
    ordered = everything.flatten().sort().values
    smaller = torch.searchsorted(ordered, values.contiguous())
    return 100 * (len(ordered) - smaller) / len(ordered)


def _point_to_data(cfg: Config, data: str | None) -> Folders:
    """Let the configuration read ``data``, or else check that the run's own files are there.

    Returns:
        The folders of its splits.
    """
    missing = [
        (split, path)
        for split in ("TRAIN", "TEST")
        for path in [*cfg.DATA[split].DATA_PATHS, *cfg.DATA[split].LABEL_PATHS]
        if not _exists(path, cfg.DATA[split].DATA_SOURCES)
    ]
    if data is None and missing and cfg.MSCN.DATA == PHOTOGRAPHS:
        data = PHOTOGRAPHS  # built from installed packages, on any machine
    if data is not None:
        cfg.MSCN.DATA = data
        for split in (cfg.DATA.TRAIN, cfg.DATA.TEST):
            split.DATA_PATHS, split.LABEL_PATHS = [], []  # those of the run's own folder
        resolve(cfg)
    elif missing:
        split, path = missing[0]
        raise ConfigError(
            f"config.DATA.{split}.DATA_PATHS names {path!r}, which is not there; pass --data with "
            "the folder of the images"
        )
    for split in ("TRAIN", "TEST"):
        sources = list(cfg.DATA[split].DATA_SOURCES)
        paths = cfg.DATA[split].DATA_PATHS
        on_disk = {*SOURCES, "disk_filelist"}.issuperset(sources) and paths
        if not on_disk and (sources or split == "TRAIN"):
            raise ConfigError(
                f"config.DATA.{split} names no folder, its DATA_SOURCES are {sources}; pass --data "
                "with the folder of the images"
            )
    return {
        split: [
            contents_of(f"config.DATA.{split}.DATA_PATHS", source, path)
            for source, path in zip(cfg.DATA[split].DATA_SOURCES, cfg.DATA[split].DATA_PATHS)
            if source in SOURCES
        ]
        for split in ("TRAIN", "TEST")
    }


def _exists(path: str, sources: Sequence[str]) -> bool:
    return Path(path).exists() or any(SOURCES[n].exists(path) for n in sources if n in SOURCES)


def _picture(sample: Any, cfg: Config) -> Image.Image:
    image: Any = sample["data"][0]
    if isinstance(image, Tensor):
        return as_picture(image.numpy(), cfg.MSCN.PICTURE_CHANNELS)
    picture: Image.Image = image
    return picture
