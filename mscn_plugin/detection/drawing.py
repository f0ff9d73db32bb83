"""Pictures with what a detector finds on them."""

from __future__ import annotations

import itertools
import os
import runpy
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from mscn_plugin.detection.environment import MODULE
from mscn_plugin.detection.launch import TOOL
from mscn_plugin.detection.reading import load_weights, read_class_names, read_config
from mscn_plugin.detection.resume import FINAL, checkpoints
from mscn_plugin.errors import ConfigError
from mscn_plugin.files import replacing


def final_weights(run: Path) -> Path:
    """The weights at the end of a detector's training.

    Raises:
        ConfigError: there are none; the error names the newest weights of an unfinished training.
    """
    if not (run / FINAL).is_file():
        found = checkpoints(run)
        hint = (
            f"; the run's newest weights: --weights {shlex.quote(str(found[0]))}" if found else ""
        )
        raise ConfigError(f"{run / FINAL} is not a file{hint}")
    return run / FINAL


def drawings(images: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Where to draw each picture: below ``output``, by its path in the folder that was named.

    Pictures that would meet there keep their extensions, and get numbers if that does not do.

    Raises:
        ConfigError: there is no picture, or a drawing would take the place of one.
    """
    names: dict[Path, Path] = {}
    for path in images:
        if path.is_dir():
            known = Image.registered_extensions()
            found = sorted(
                file
                for file in path.rglob("*")
                if file.suffix.lower() in known
                and not any(part.startswith(".") for part in file.relative_to(path).parts)
                and output.resolve() not in file.resolve().parents
            )
            if not found:
                raise ConfigError(f"{path} has no pictures")
            names.update((file, file.relative_to(path)) for file in found if file not in names)
        elif path.is_file():
            names.setdefault(path, Path(path.name))
        else:
            raise ConfigError(f"{path} is not a file, and not a folder")
    stems = Counter(name.with_suffix("") for name in names.values())
    targets: dict[Path, Path] = {}
    taken = set()
    for file, name in names.items():
        target = name.with_suffix("") if stems[name.with_suffix("")] == 1 else name
        numbered = (target.with_name(f"{target.name}_{number}") for number in itertools.count(2))
        free = next(t for t in itertools.chain([target], numbered) if t not in taken)
        taken.add(free)
        targets[file] = output / free.with_name(f"{free.name}.png")
    originals = {file.resolve() for file in names}
    for target in targets.values():
        if target.resolve() in originals:
            raise ConfigError(f"{target} is a picture to draw on; --output must be another folder")
    return targets


def draw(run: Path, weights: Path, threshold: float, targets: dict[Path, Path]) -> list[Path]:
    """Draw on every picture; returns those that could not be read.

    Args:
        run: the detector's folder, with ``config.yaml``.
        threshold: the smallest score of what is drawn, 0 to 1.
        targets: of each picture, the file to write.
    """
    os.environ["DETECTRON2_ENV_MODULE"] = MODULE
    from detectron2.data.detection_utils import read_image
    from detectron2.engine import DefaultPredictor
    from detectron2.utils.visualizer import Visualizer

    config = read_config(run / "config.yaml")
    runpy.run_path(str(TOOL))  # registers the head with the extra normalisation
    config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
    if not torch.cuda.is_available():
        config.MODEL.DEVICE = "cpu"
    metadata = class_names(run, config)
    predictor = DefaultPredictor(config)
    load_weights(predictor.model, weights)
    unreadable = []
    for file, path in targets.items():
        try:
            # The predictor takes BGR, whatever the model's own format.
            image = read_image(str(file), "BGR")
        except Exception as error:  # Pillow raises many kinds
            print(f"{file} is left out: {error}", file=sys.stderr)
            unreadable.append(file)
            continue
        found = predictor(image)["instances"].to("cpu")
        drawn = Visualizer(image[:, :, ::-1], metadata).draw_instance_predictions(found)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as staged:
            drawn.save(str(staged))
        print(f"{file} -> {path}: {len(found)} objects")
    return unreadable


def class_names(run: Path, config: Any) -> Any:
    """detectron2's metadata; of data of the user's own with the names in ``classes.json``.

    Raises:
        ConfigError: there are other names than the detector has classes, or none.
    """
    from detectron2.data import MetadataCatalog

    dataset = config.DATASETS.TEST[0] if config.DATASETS.TEST else "none"
    metadata = MetadataCatalog.get(dataset)
    file, count = run / "classes.json", config.MODEL.ROI_HEADS.NUM_CLASSES
    if file.is_file():
        names = read_class_names(file)
        metadata = MetadataCatalog.get(f"{dataset} of {run}").set(thing_classes=names)
    names = metadata.get("thing_classes", None)
    place = file if file.is_file() else f"the data set {dataset!r}"
    if not names:
        raise ConfigError(
            f"{place} has no names of classes; {file} must hold them, a list of {count} texts"
        )
    if len(names) != count or len(set(names)) != count:
        raise ConfigError(
            f"{place} has {len(set(names))} names of classes, but the detector has {count}: put "
            f"those that it was trained with into {file}"
        )
    return metadata
