"""Detection data of the user's own: read, checked, and written as detectron2 wants them.

Annotations of VOC (XML), COCO (JSON) and YOLO (text) are taken, with the pictures beside them, in
``images/`` or ``JPEGImages/``; the split is given by lists, by folders (``train/``, ``valid/``)
or by names of files. Everything is read before training starts: at a gap in the validation data
detectron2 would stop after its last iteration, and not before. What was repaired is reported.

detectron2 gets a folder in which all is as its own readers want it: of VOC, XML files and links to
the pictures; of COCO and YOLO, two files of JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mscn_plugin.detection.annotated_folder import DataFolder
from mscn_plugin.detection.annotated_pictures import Annotation, Picture, check_files
from mscn_plugin.detection.coco_files import annotation_files, is_of_coco, read_coco
from mscn_plugin.detection.findings import Findings
from mscn_plugin.detection.voc_files import read_voc
from mscn_plugin.detection.yolo_files import (
    file_without_names,
    has_labels,
    names_file,
    read_yolo,
)
from mscn_plugin.errors import ConfigError
from mscn_plugin.files import file_digest, remove_abandoned, staging_folder

VARIABLE = "MSCN_DETECTION_DATA"
"""The folder that :meth:`DetectionData.write` wrote, in the environment: it reaches every process
that detectron2 starts."""
SPLITS = ("train", "val")
MIN_PICTURES = 2  # in a split: detectron2's reader of VOC cannot take a list of one
VAL_SHARE = 5  # every fifth picture is held out where the data have no validation split
_MANIFEST = "data.json"
_LAYOUTS = (
    "annotations of VOC (*.xml), of COCO (*.json) or of YOLO (*.txt and data.yaml or classes.txt) "
    "with their pictures beside them or in images/, and train/ and valid/, or lists "
    "ImageSets/Main/train.txt and val.txt (of YOLO those of data.yaml or obj.data), or "
    "annotations/train.json and val.json; Roboflow, CVAT and LabelImg export such folders, and "
    "labelme2coco makes one of LabelMe's files"
)
_UNSPLIT = (
    "pictures have no validation split: every fifth of them, by a hash of its name, is held out"
)


@dataclasses.dataclass(frozen=True)
class DetectionData:
    """Pictures with their objects, checked and complete.

    Attributes:
        layout: ``"voc"`` or ``"coco"``, of detectron2's readers and evaluators.
        classes: names, in the order of their labels: first those with objects in ``val``.
        splits: pictures of ``train`` and ``val``.
        num_evaluated: so many classes are evaluated: AP is a mean over those that ``val`` has.
        has_masks: whether every object has a mask.
        has_run_lengths: whether a mask is no polygon.
        notes: what was taken for what, repaired, or left out, a line each.
    """

    folder: Path
    layout: str
    classes: list[str]
    splits: dict[str, list[Picture]]
    num_evaluated: int
    has_masks: bool
    has_run_lengths: bool
    notes: list[str]

    @classmethod
    def read(cls, folder: Path) -> DetectionData:
        """Read all annotations and open all pictures.

        Raises:
            ConfigError: with all that must be fixed, or there are no data of a known layout.
        """
        if not folder.is_dir():
            raise ConfigError(f"--data is {folder}, which is not a folder")
        data, findings = DataFolder(folder.resolve()), Findings()
        in_json = [file for _, file in annotation_files(data)]
        if in_json and has_labels(data) and not any(map(is_of_coco, in_json)):
            for file in in_json:  # Label Studio's notes.json, for instance
                findings.note(
                    "JSON beside labels of YOLO, without images and annotations: left out",
                    data.name(file),
                )
            in_json = []
        num_xml, num_json = len(data.with_suffix(".xml")), len(in_json)
        if num_xml and num_json:
            other = "XML" if num_json >= num_xml else "JSON"
            findings.note(f"annotations in XML and in JSON: those in {other} are left out")
        if num_xml > num_json:
            layout, read = "VOC", read_voc
        elif num_json:
            layout, read = "COCO", read_coco
        elif names_file(data):
            layout, read = "YOLO", read_yolo
        else:
            nameless = file_without_names(data)
            if nameless:
                raise ConfigError(
                    f"{nameless} has no names of the classes; it must have a list of them, such as "
                    "names: [cat, dog]"
                )
            raise ConfigError(f"{folder} is not detection data: it needs {_LAYOUTS}")
        splits = _train_and_val(data, read(data, findings), layout, findings)
        for pictures in splits.values():
            check_files(pictures, findings)
        _check_pictures(data, splits, findings)
        kind = "voc" if layout == "VOC" else "coco"
        if kind == "voc":
            _rename_for_files(splits, findings)
        classes, num_evaluated = _classes(splits, findings)
        has_masks, has_run_lengths = _masks(splits, findings)
        findings.raise_refusals(folder)
        return cls(
            data.root,
            kind,
            classes,
            splits,
            num_evaluated,
            has_masks,
            has_run_lengths,
            findings.notes(),
        )

    @property
    def dataset_names(self) -> dict[str, str]:
        """detectron2's names, by split; VISSL's tool finds its evaluator by the layout in them."""
        return {split: f"custom_{self.layout}_{split}" for split in SPLITS}

    def digest(self) -> str:
        """A hash of all annotations, and of names and sizes of the pictures' files."""
        content: list[Any] = [self.classes]
        for split, pictures in self.splits.items():
            for picture in pictures:
                name = os.path.relpath(picture.file, self.folder)
                content.append((split, name, picture.file.stat().st_size, picture.size))
                content += [dataclasses.astuple(item) for item in picture.objects]
        return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()

    def write(self, output: Path) -> None:
        """Write what detectron2 reads into ``output``, in the place of what was there."""
        if output.exists() and not (output / _MANIFEST).is_file():
            raise ConfigError(f"{output} is in the way; it must not be there")
        output.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(output.parent)
        with staging_folder(output.parent) as scratch:
            built = scratch / "built"
            built.mkdir()
            for split in SPLITS:
                write = self._write_voc if self.layout == "voc" else self._write_coco
                write(built, split)
            content = {
                "layout": self.layout,
                "classes": self.classes,
                "num_evaluated": self.num_evaluated,
            }
            (built / _MANIFEST).write_text(json.dumps(content))
            if output.exists():
                output.rename(scratch / "before")
            built.rename(output)

    def _write_voc(self, output: Path, split: str) -> None:
        evaluated = set(self.classes[: self.num_evaluated])
        for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (output / part).mkdir(parents=True, exist_ok=True)
        names = []
        for index, picture in enumerate(self.splits[split]):
            name = f"{split}_{index:06d}"
            names.append(name)
            (output / "JPEGImages" / f"{name}.jpg").symlink_to(picture.file)
            objects = [
                item for item in picture.objects if split == "train" or item.name in evaluated
            ]
            tree = ElementTree.ElementTree(_voc_element(picture, objects))
            tree.write(output / "Annotations" / f"{name}.xml", encoding="utf-8")
        (output / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")

    def _write_coco(self, output: Path, split: str) -> None:
        images: list[dict[str, Any]] = []
        objects: list[dict[str, Any]] = []
        for identity, picture in enumerate(self.splits[split], 1):
            assert picture.size is not None, "the folder was found complete"
            width, height = picture.size
            file = str(picture.file)
            images.append({"id": identity, "file_name": file, "width": width, "height": height})
            # Of numbers from 1: pycocotools takes an object with the number 0 for none.
            known = [item for item in picture.objects if item.name in self.classes]
            objects += [
                {"id": number, "image_id": identity, **self._coco_object(item)}
                for number, item in enumerate(known, len(objects) + 1)
            ]
        categories = [{"id": index, "name": name} for index, name in enumerate(self.classes, 1)]
        content = {"images": images, "annotations": objects, "categories": categories}
        (output / f"{split}.json").write_text(json.dumps(content))

    def _coco_object(self, item: Annotation) -> dict[str, Any]:
        left, upper, right, lower = item.box
        width, height = right - left, lower - upper
        mask = {"segmentation": item.segmentation} if item.segmentation else {}
        return {
            "category_id": self.classes.index(item.name) + 1,
            "bbox": [left, upper, width, height],
            "area": width * height if item.area is None else item.area,
            "iscrowd": int(item.crowd),
            **mask,
        }


def register_from_environment() -> None:
    """Register the data in the folder that :data:`VARIABLE` names, if it is set."""
    folder = os.environ.get(VARIABLE)
    if folder:
        register(Path(folder))


def register(folder: Path) -> None:
    """Register with detectron2 what :meth:`DetectionData.write` wrote."""
    from detectron2.data.datasets import register_coco_instances, register_pascal_voc

    content = json.loads((folder / _MANIFEST).read_text())
    classes, num_evaluated = content["classes"], content["num_evaluated"]
    for split in SPLITS:
        if content["layout"] == "voc":
            # VOC's evaluator gives a class without objects an AP of 0, or of NaN, and COCO's none.
            names = classes if split == "train" else classes[:num_evaluated]
            # Of 2012: average precision by area, as in COCO, not at 11 points.
            register_pascal_voc(f"custom_voc_{split}", str(folder), split, 2012, names)
        else:
            register_coco_instances(f"custom_coco_{split}", {}, str(folder / f"{split}.json"), "")


def _train_and_val(
    data: DataFolder,
    found: dict[str | None, list[Picture]],
    layout: str,
    findings: Findings,
) -> dict[str, list[Picture]]:
    """Choose which pictures train and which validate, holding some out if need be."""
    rest = found.pop(None, [])
    if "train" not in found and not set(found) & {"val", "test"}:
        found, rest = {"train": rest}, []
    source = "val" if "val" in found else "test"
    train, val = found.get("train", []), found.get(source, [])
    if "train" in found and source not in found:
        order = sorted(train, key=lambda picture: _hash(data.name(picture.file)))
        count = max(MIN_PICTURES, len(order) // VAL_SHARE)
        held_out = {id(picture) for picture in order[:count]}
        train, val = (
            [picture for picture in train if (id(picture) in held_out) == kept]
            for kept in (False, True)
        )
        findings.note(_UNSPLIT)
    elif source == "test" and source in found:
        findings.note("there are no validation pictures: test's are used for it")
    findings.note(f"annotations of {layout}; train: {len(train)} pictures, val: {len(val)}")
    if source == "val" and "test" in found:
        findings.note(f"test: {len(found['test'])} pictures are left out")
    for picture in rest:
        findings.note("picture of no split: left out", data.name(picture.file))
    for split, pictures in (("train", train), ("val", val)):
        if len(pictures) < MIN_PICTURES:
            findings.refuse(
                f"split has fewer than {MIN_PICTURES} pictures with annotations: add some, in "
                "train/ and valid/, or in lists (of VOC, ImageSets/Main/train.txt and val.txt; of "
                "YOLO, those that data.yaml or obj.data names)",
                f"{split} ({len(pictures)})",
            )
    return {"train": train, "val": val}


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def _check_pictures(data: DataFolder, splits: dict[str, list[Picture]], findings: Findings) -> None:
    """Look for pictures that are there twice."""
    places = {split: Counter(p.file for p in pictures) for split, pictures in splits.items()}
    for split, files in places.items():
        for file, count in files.items():
            if count > 1:
                findings.refuse(
                    "picture has several annotations in one split: put its objects into one",
                    f"{data.name(file)} ({count} in {split})",
                )
    for file in places["train"]:
        if file in places["val"]:
            findings.refuse(
                "picture is in train and in val, where AP would be of pictures that were trained: "
                "take it out of one",
                data.name(file),
            )
    for file, other in _equal_files(places["val"], places["train"]):
        findings.note(
            "picture of val is a copy of one of train: AP is of a picture that was trained",
            f"{data.name(file)} and {data.name(other)}",
        )


def _equal_files(files: Iterable[Path], others: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Pairs of the same bytes in two files; only those of one size are read."""
    by_size: dict[int, list[Path]] = {}
    for other in others:
        by_size.setdefault(other.stat().st_size, []).append(other)
    digests: dict[Path, str] = {}

    def digest(file: Path) -> str:
        if file not in digests:
            digests[file] = file_digest(file)
        return digests[file]

    return [
        (file, other)
        for file in files
        for other in by_size.get(file.stat().st_size, [])
        if file != other and digest(file) == digest(other)
    ]


def _rename_for_files(splits: dict[str, list[Picture]], findings: Findings) -> None:
    """Take slashes out of names: VOC's evaluator writes a file for each class."""
    objects = [item for pictures in splits.values() for p in pictures for item in p.objects]
    names = {item.name for item in objects}
    for item in objects:
        if "/" in item.name:
            renamed = item.name.replace("/", "_")
            if renamed in names:
                findings.refuse("two classes differ in a slash alone: rename one", item.where)
            findings.note("class with a slash in its name, taken as _", f"{item.name!r}")
            item.name = renamed


def _classes(splits: dict[str, list[Picture]], findings: Findings) -> tuple[list[str], int]:
    """Names in the order of their labels, and how many of them are evaluated."""
    counts = {
        split: Counter(
            item.name
            for picture in pictures
            for item in picture.objects
            if not item.crowd and (split == "train" or item.counts)
        )
        for split, pictures in splits.items()
    }
    for split, count in counts.items():
        if not count:
            findings.refuse("split has no objects that count: add some", split)
    for picture in splits["train"]:
        if not any(not item.crowd for item in picture.objects):
            findings.note("picture of train has no objects: it is not trained on", picture.where)
    train, val = counts["train"], counts["val"]
    for name in sorted(set(train) - set(val)):
        findings.note("class has no objects in val: AP leaves it out", repr(name))
    for name in sorted(set(val) - set(train)):
        findings.note("class has no objects in train: its AP counts, and will be 0", repr(name))
    alike: dict[str, list[str]] = {}
    for name in sorted({*train, *val}):
        alike.setdefault(re.sub(r"[\s_\-]", "", name.casefold()), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            written = ", ".join(f"{name!r} ({train[name] + val[name]} objects)" for name in names)
            findings.note(
                "classes differ in case or spaces alone, and are trained as different ones; "
                "rename them if they are one",
                written,
            )
    return sorted(val) + sorted(set(train) - set(val)), len(val)


def _masks(splits: dict[str, list[Picture]], findings: Findings) -> tuple[bool, bool]:
    """Whether all objects have masks, and whether one has run lengths; those are checked.

    Where all objects have one, crowds get one, too.
    """
    objects = [
        (picture, item)
        for pictures in splits.values()
        for picture in pictures
        for item in picture.objects
    ]
    trained = [item for _, item in objects if not item.crowd]
    with_mask = sum(item.segmentation is not None for item in trained)
    if 0 < with_mask < len(trained):
        findings.note(
            f"{with_mask} of {len(trained)} objects have a mask: only boxes are trained; give all "
            "of them one, or none"
        )
    has_masks = bool(trained) and with_mask == len(trained)
    for _, item in objects:
        if has_masks and item.segmentation is None:  # a crowd, whose mask COCO's evaluator reads
            left, upper, right, lower = item.box
            item.segmentation = [[left, upper, right, upper, right, lower, left, lower]]
            findings.note("crowd without a mask: its box is taken for it", item.where)
    run_lengths = [pair for pair in objects if isinstance(pair[1].segmentation, dict)]
    for picture, item in run_lengths:
        if picture.size is None:
            continue
        try:
            _check_run_lengths(item.segmentation, picture.size)
        except Exception as error:  # pycocotools raises many kinds
            findings.refuse(
                "run lengths of a mask do not fit the picture: export it again",
                f"{item.where} ({error})",
            )
    return has_masks, has_masks and any(not item.crowd for _, item in run_lengths)


def _check_run_lengths(mask: dict[str, Any], size: tuple[int, int]) -> None:
    import pycocotools.mask

    width, height = size
    if list(mask.get("size", ())) != [height, width]:
        raise ValueError(f"size is {mask.get('size')}, the picture's {[height, width]}")
    counts = mask.get("counts")
    if isinstance(counts, list):
        if not all(type(n) is int and n >= 0 for n in counts) or sum(counts) != width * height:
            raise ValueError("counts do not add up to the picture's pixels")
    elif isinstance(counts, str):
        pycocotools.mask.decode(mask)
    else:
        raise ValueError(f"counts is {str(counts)[:40]}")


def _voc_element(picture: Picture, objects: Sequence[Annotation]) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    assert picture.size is not None, "the folder was found complete"
    _add(root, "filename", picture.file.name)
    size = ElementTree.SubElement(root, "size")
    for side, pixels in zip(("width", "height"), picture.size):
        _add(size, side, pixels)
    for item in objects:
        element = ElementTree.SubElement(root, "object")
        _add(element, "name", item.name)
        _add(element, "pose", "Unspecified")
        _add(element, "truncated", 0)
        _add(element, "difficult", int(item.difficult))
        box = ElementTree.SubElement(element, "bndbox")
        left, upper, right, lower = map(int, item.box)
        corners = {"xmin": left + 1, "ymin": upper + 1, "xmax": right, "ymax": lower}
        for side, pixels in corners.items():
            _add(box, side, pixels)
    return root


def _add(parent: ElementTree.Element, name: str, value: object) -> None:
    ElementTree.SubElement(parent, name).text = str(value)
