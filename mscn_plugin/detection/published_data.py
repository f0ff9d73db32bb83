"""VOC07+12 and COCO as they are published: are all of their pictures there?"""

from __future__ import annotations

import hashlib
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from mscn_plugin.detection.annotated_pictures import Picture, check_files
from mscn_plugin.detection.findings import Findings
from mscn_plugin.errors import ConfigError

FILES = {
    "voc": (
        "VOC2007/ImageSets/Main/trainval.txt",
        "VOC2007/ImageSets/Main/test.txt",
        "VOC2012/ImageSets/Main/trainval.txt",
    ),
    "coco": (
        "coco/annotations/instances_train2017.json",
        "coco/annotations/instances_val2017.json",
    ),
}
"""What each data set's configuration reads first, in the folder that holds the data set."""


class _Digest(Protocol):
    def update(self, content: bytes, /) -> None: ...


def check_published(dataset: str, root: Path) -> str:
    """Open every picture of a data set; returns a digest of its lists, its annotations, and of
    names and sizes of the pictures' files.

    Raises:
        ConfigError: a file is missing, or pictures are missing, damaged or of another size.
    """
    for file in FILES[dataset]:
        if not (root / file).is_file():
            raise ConfigError(
                f"--dataset {dataset} needs {file} in {root}: --data (or DETECTRON2_DATASETS) "
                "must name the folder that holds it"
            )
    read = _voc if dataset == "voc" else _coco
    findings, digest = Findings(), hashlib.sha256()
    pictures: list[Picture] = []
    for file in FILES[dataset]:
        try:
            pictures += read(root / file, digest)
        except (OSError, ValueError, KeyError, TypeError, ElementTree.ParseError) as error:
            raise ConfigError(f"{root / file} cannot be read to its end ({error})") from None
    check_files(pictures, findings)
    findings.raise_refusals(root)
    for picture in pictures:
        name = picture.file.relative_to(root).as_posix()
        digest.update(f"{name} {picture.file.stat().st_size}\n".encode())
    return digest.hexdigest()


def _voc(file: Path, digest: _Digest) -> Iterator[Picture]:
    folder = file.parents[2]
    for stem in _read(file, digest).decode().split():
        xml = folder / "Annotations" / f"{stem}.xml"
        root = ElementTree.fromstring(_read(xml, digest))
        size = int(root.findtext("size/width", "0")), int(root.findtext("size/height", "0"))
        yield Picture(folder / "JPEGImages" / f"{stem}.jpg", str(xml), size, [])


def _coco(file: Path, digest: _Digest) -> Iterator[Picture]:
    split = file.stem.split("_")[-1]
    content: dict[str, Any] = json.loads(_read(file, digest))
    for image in content["images"]:
        size: tuple[int, int] = (image["width"], image["height"])
        yield Picture(file.parents[1] / split / image["file_name"], str(file), size, [])


def _read(file: Path, digest: _Digest) -> bytes:
    content = file.read_bytes()
    digest.update(hashlib.sha256(content).digest())
    return content
