"""Detection data of the user's own, in the layout of VOC or of COCO.

VOC: ``Annotations/*.xml``, ``JPEGImages/*.jpg`` and ``ImageSets/Main/{train,val}.txt``. COCO:
``annotations/{train,val}.json`` and the images in ``train/`` and ``val/``. The names of the data sets
say ``voc`` or ``coco``, by which VISSL's tool chooses its evaluator.
"""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Dict, List

from mscn_plugin.errors import ConfigError

VARIABLE = "MSCN_DETECTION_DATA"
"""The folder, in the environment: it reaches every process that detectron2 starts."""
SPLITS = ("train", "val")


def layout_of(folder: Path) -> str:
    """``"voc"`` or ``"coco"``.

    Raises:
        ConfigError: the folder is of neither layout, or a part of it is missing.
    """
    if (folder / "Annotations").is_dir():
        layout = "voc"
        needed = [folder / "JPEGImages"]
        needed += [folder / "ImageSets" / "Main" / f"{split}.txt" for split in SPLITS]
    elif (folder / "annotations").is_dir():
        layout = "coco"
        needed = [folder / "annotations" / f"{split}.json" for split in SPLITS]
        needed += [folder / split for split in SPLITS]
    else:
        raise ConfigError(
            f"{folder} is no detection data: it needs Annotations/, JPEGImages/ and ImageSets/Main/ "
            "(VOC), or annotations/train.json, annotations/val.json, train/ and val/ (COCO)"
        )
    for path in needed:
        if not path.exists():
            raise ConfigError(f"{folder} has the layout of {layout.upper()}, but no {path}")
    return layout


def class_names(folder: Path) -> List[str]:
    """Names of the classes that the training annotations have, in the order of their labels.

    Raises:
        ConfigError: an annotation file cannot be read, or there are none.
    """
    if layout_of(folder) == "coco":
        file = folder / "annotations" / "train.json"
        try:
            categories = json.loads(file.read_text())["categories"]
            names = [c["name"] for c in sorted(categories, key=lambda c: c["id"])]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{file} is no annotation file of COCO ({error!r})") from None
    else:
        found = set()
        for stem in (folder / "ImageSets" / "Main" / "train.txt").read_text().split():
            file = folder / "Annotations" / f"{stem}.xml"
            try:
                objects = ElementTree.parse(file).getroot().iter("object")
                found.update(str(item.findtext("name")) for item in objects)
            except (OSError, ElementTree.ParseError) as error:
                raise ConfigError(f"{file} cannot be read ({error})") from None
        names = sorted(found)
    if not names:
        raise ConfigError(f"{folder} has no objects in its training annotations")
    return names


def dataset_names(layout: str) -> Dict[str, str]:
    """Names of the data sets by split."""
    return {split: f"custom_{layout}_{split}" for split in SPLITS}


def register_from_environment() -> None:
    """Register the data of the folder that the environment names, if it names one."""
    folder = os.environ.get(VARIABLE)
    if folder:
        register(Path(folder))


def register(folder: Path) -> None:
    """Register both splits of a folder with detectron2.

    Raises:
        ConfigError: see :func:`layout_of` and :func:`class_names`.
    """
    from detectron2.data.datasets import register_coco_instances, register_pascal_voc

    layout = layout_of(folder)
    names = class_names(folder)
    for split, name in dataset_names(layout).items():
        if layout == "voc":
            # 2012: average precision by area, as in COCO, not by 11 points.
            register_pascal_voc(name, str(folder), split, 2012, names)
        else:
            annotations = str(folder / "annotations" / f"{split}.json")
            register_coco_instances(name, {}, annotations, str(folder / split))
