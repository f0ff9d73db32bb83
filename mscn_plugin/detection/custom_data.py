"""Detection data of the user's own, in the layout of VOC or of COCO.

VOC: ``Annotations/*.xml``, ``JPEGImages/*.jpg``, and the splits ``ImageSets/Main/train.txt`` and
``val.txt`` (or ``trainval.txt`` and ``test.txt``). COCO: ``annotations/train.json`` and
``val.json`` beside ``train/`` and ``val/``; also under COCO's own names, such as
``annotations/instances_train2017.json`` and ``train2017/``, or with all pictures in ``images/``.

Everything is read before training starts: at a gap in the validation data detectron2 would stop
after its last iteration, and not before.
"""

from __future__ import annotations

import dataclasses
import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple

from mscn_plugin.errors import ConfigError

VARIABLE = "MSCN_DETECTION_DATA"
"""The folder, in the environment: it reaches every process that detectron2 starts."""
SPLITS = ("train", "val")
_VOC_SPLITS = {"train": ("train", "trainval"), "val": ("val", "test")}
_COCO_ANNOTATIONS = ("{0}.json", "instances_{0}.json", "instances_{0}2017.json")
_COCO_IMAGES = ("{0}", "{0}2017", "images/{0}", "images/{0}2017", "images")


@dataclasses.dataclass(frozen=True)
class DetectionData:
    """A folder that was read and found whole.

    Attributes:
        layout: ``"voc"`` or ``"coco"``.
        classes: names, in the order of their labels.
        splits: of VOC the name of the list; of COCO annotation file and folder of images.
        has_masks: whether every object has a mask.
    """

    folder: Path
    layout: str
    classes: List[str]
    splits: Dict[str, Tuple[str, ...]]
    has_masks: bool

    @classmethod
    def read(cls, folder: Path) -> DetectionData:
        """Read the annotations of both splits.

        Raises:
            ConfigError: the folder has neither layout, or something in it is missing or broken.
        """
        if (folder / "Annotations").is_dir():
            return cls._read_voc(folder)
        if (folder / "annotations").is_dir():
            return cls._read_coco(folder)
        raise ConfigError(
            f"{folder} is no detection data: it needs Annotations/, JPEGImages/ and "
            "ImageSets/Main/ (VOC), or annotations/train.json, annotations/val.json, train/ and "
            "val/ (COCO)"
        )

    @classmethod
    def _read_voc(cls, folder: Path) -> DetectionData:
        lists = folder / "ImageSets" / "Main"
        splits: Dict[str, Tuple[str, ...]] = {}
        classes: Set[str] = set()
        for split, names in _VOC_SPLITS.items():
            found = [name for name in names if (lists / f"{name}.txt").is_file()]
            if not found:
                wanted = " or ".join(f"{name}.txt" for name in names)
                raise ConfigError(f"{folder} has the layout of VOC, but no {wanted} in {lists}")
            splits[split] = (found[0],)
            lines = (lists / f"{found[0]}.txt").read_text().splitlines()
            stems = [line for line in lines if line.strip()]
            if len(stems) < 2 or any(len(stem.split()) != 1 for stem in stems):
                raise ConfigError(
                    f"{lists / found[0]}.txt must name one image in a line, without its extension, "
                    "and at least two"
                )
            for stem in stems:
                image = folder / "JPEGImages" / f"{stem.strip()}.jpg"
                if not image.is_file():
                    raise ConfigError(f"{image} is missing, which {found[0]}.txt names")
                classes.update(_voc_classes(folder / "Annotations" / f"{stem.strip()}.xml"))
        if not classes:
            raise ConfigError(f"{folder} has no objects in its annotations")
        return cls(folder, "voc", sorted(classes), splits, has_masks=False)

    @classmethod
    def _read_coco(cls, folder: Path) -> DetectionData:
        splits: Dict[str, Tuple[str, ...]] = {}
        categories, has_masks = {}, True
        for split in SPLITS:
            annotations = _first(folder / "annotations", _COCO_ANNOTATIONS, split)
            images = _first(folder, _COCO_IMAGES, split)
            splits[split] = (str(annotations), str(images))
            try:
                content = json.loads(annotations.read_text())
                categories[split] = {c["id"]: c["name"] for c in content["categories"]}
                objects = content["annotations"]
                has_masks = has_masks and all(item.get("segmentation") for item in objects)
                _check_coco_objects(content, categories[split])
                files = [item["file_name"] for item in content["images"]]
            except (OSError, ValueError, KeyError, TypeError) as error:
                message = f"{annotations} is no annotation file of COCO ({error})"
                raise ConfigError(message) from None
            missing = next((file for file in files if not (images / file).is_file()), None)
            if missing:
                raise ConfigError(f"{images / missing} is missing, which {annotations.name} names")
            if not objects:
                raise ConfigError(f"{annotations} has no objects")
        if categories["train"] != categories["val"]:
            raise ConfigError(f"the two files in {folder / 'annotations'} have other categories")
        names = [name for _, name in sorted(categories["train"].items())]
        return cls(folder, "coco", names, splits, has_masks)

    @property
    def dataset_names(self) -> Dict[str, str]:
        """detectron2's names, by split; VISSL's tool finds its evaluator by the layout in them."""
        return {split: f"custom_{self.layout}_{split}" for split in SPLITS}

    def register(self) -> None:
        """Register both splits with detectron2."""
        from detectron2.data.datasets import register_coco_instances, register_pascal_voc

        for split, name in self.dataset_names.items():
            if self.layout == "voc":
                # Of 2012: average precision by area, as in COCO, not at 11 points.
                register_pascal_voc(name, str(self.folder), *self.splits[split], 2012, self.classes)
            else:
                register_coco_instances(name, {}, *self.splits[split])


def register_from_environment() -> None:
    """Register the data of the folder that :data:`VARIABLE` names, if it is set."""
    folder = os.environ.get(VARIABLE)
    if folder:
        DetectionData.read(Path(folder)).register()


def _first(folder: Path, patterns: Tuple[str, ...], split: str) -> Path:
    paths = [folder / pattern.format(split) for pattern in patterns]
    for path in paths:
        if path.exists():
            return path
    wanted = ", ".join(str(path.relative_to(folder)) for path in paths)
    raise ConfigError(f"{folder} has nothing for {split!r}; looked for {wanted}")


def _voc_classes(file: Path) -> Iterator[str]:
    """Classes of a file's objects, which detectron2's loader and evaluator can read."""
    try:
        root = ElementTree.parse(file).getroot()
        for side in ("width", "height"):
            int(_text(root, f"size/{side}"))
        for item in root.iter("object"):
            _text(item, "pose")
            for field in ("truncated", "difficult"):
                int(_text(item, field))
            left, upper, right, lower = (
                int(_text(item, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")
            )
            if not (left < right and upper < lower):
                raise ValueError(f"the box {left, upper, right, lower} is empty")
            yield _text(item, "name")
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise ConfigError(f"{file} is no annotation file of VOC ({error})") from None


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"<{element.tag}> has no {path}")
    return text


def _check_coco_objects(content: Any, categories: Dict[int, str]) -> None:
    """Raise ValueError, or KeyError, for an object that detectron2 cannot take."""
    images = {image["id"] for image in content["images"]}
    for item in content["annotations"]:
        if item["category_id"] not in categories or item["image_id"] not in images:
            raise ValueError(f"object {item['id']} is of an unknown category or image")
        if len(item["bbox"]) != 4:
            raise ValueError(f"object {item['id']} has no box of four numbers")
        if "area" not in item or "iscrowd" not in item:
            raise ValueError(f"object {item['id']} has no area or no iscrowd, which AP needs")
