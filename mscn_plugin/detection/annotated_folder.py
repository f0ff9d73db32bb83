"""The files of a data folder, and which split each belongs to."""

from __future__ import annotations

import itertools
import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

from mscn_plugin.data.image_folder import TEST, TRAIN, VAL, is_run

_SPLITS = {"train": TRAIN, "val": VAL, "test": TEST}
_PICTURE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img")
_ANNOTATION_FOLDERS = ("annotations", "annotation", "labels", "label", "xml", "xmls")
_MASK_FOLDERS = ("segmentationclass", "segmentationobject")  # VOC's, whose files are named alike
_NO_PICTURES = (".xml", ".txt", ".json", ".yaml", ".yml", ".names", ".csv", ".md", ".cache")


def split_named(name: str) -> str | None:
    """``train``, ``val`` or ``test`` if a name means that, as ``Valid``, ``val_images`` and CVAT's
    ``obj_valid_data``."""
    inner = re.fullmatch(r"obj_(.+)_data", name.lower())
    name = re.sub(r"[\d_\-. ]+$", "", inner[1] if inner else name.lower())
    if name == "trainval":  # VOC's
        return "train"
    return next((split for split, pattern in _SPLITS.items() if pattern.fullmatch(name)), None)


class DataFolder:
    """All visible files below a folder.

    Attributes:
        root: the folder.
        files: sorted; macOS's twins (``._a.jpg``), and those of hidden folders and of runs, are
            left out.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = sorted(_visible_files(root))
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for file in self.files:
            self._by_name[file.name].append(file)
            if file.suffix.lower() not in _NO_PICTURES and not self._is_below(file, _MASK_FOLDERS):
                self._by_stem[file.stem].append(file)

    def with_suffix(self, suffix: str) -> list[Path]:
        """Files whose names end so, in any case."""
        return [file for file in self.files if file.suffix.lower() == suffix]

    def pictures(self) -> list[Path]:
        """Files with the extension of a format that Pillow can read."""
        known = Image.registered_extensions()
        files = (file for files in self._by_stem.values() for file in files)
        return sorted(file for file in files if file.suffix.lower() in known)

    def name(self, file: Path) -> str:
        """A file's path below the folder."""
        return str(file.relative_to(self.root)) if self.root in file.parents else str(file)

    def split(self, file: Path) -> str | None:
        """The split that the nearest folder above a file names; None: no folder does."""
        parts = reversed(file.relative_to(self.root).parts[:-1])
        return next((split for split in map(split_named, parts) if split), None)

    def picture_of(self, annotation: Path, stated: str) -> list[Path]:
        """Pictures to which a file of annotations belongs; one, where all is well.

        Args:
            stated: the picture's name as the annotation has it, taken where no picture has the
                stem of the annotation's own name, and where several have.
        """
        stated = PurePosixPath(stated.replace("\\", "/")).name
        found = self._nearest(annotation, self._by_stem.get(annotation.stem, []))
        if len(found) > 1:
            found = [file for file in found if file.name == stated] or found
        return found or self._nearest(annotation, self._by_name.get(stated, []) if stated else [])

    def file_named(self, annotation: Path, stated: str, split: str | None) -> list[Path]:
        """Files that a list's entry may mean, by its path or else by its last part alone.

        Raises:
            ValueError: the path leads out of the folder.
        """
        path = PurePosixPath(stated.replace("\\", "/"))
        normal = os.path.normpath(self.root / path)
        if path.is_absolute() or ".." in path.parts:
            base = normal if path.is_absolute() else os.path.normpath(annotation.parent / path)
            if os.path.commonpath([base, str(self.root)]) != str(self.root):
                raise ValueError(f"{stated!r} leads out of the data folder")
            path = PurePosixPath(base).relative_to(self.root.as_posix())
        named = self._by_name.get(path.name, [])
        for whole in (annotation.parent / path, self.root / path):
            if whole in named:
                return [whole]
        below = [file for file in named if file.parts[-len(path.parts) :] == path.parts] or named
        same = [file for file in below if self.split(file) == split]
        return self._nearest(annotation, same or below)

    def file_ending_like(
        self, source: Path, stated: str, split: str | None, least: int = 1
    ) -> list[Path]:
        """Files whose paths have the longest common end with a path, which may lead anywhere.

        Args:
            least: so many parts must agree, or all that are stated.
        """
        parts = _parts(stated)
        if not parts:
            return []
        named = self._by_name.get(parts[-1], [])
        length = max((self._common_end(file, parts) for file in named), default=0)
        if length < min(len(parts), least):
            return []
        return self.file_named(source, "/".join(parts[-length:]), split)

    def folder_ending_like(self, source: Path, stated: str) -> list[Path]:
        """Folders of pictures that a path means, which may lead anywhere.

        Of a path that is not there as it is, more than the last part must be right: that is
        ``images`` for the folders of all splits.
        """
        folders = {f for p in self.pictures() for f in p.parents if f.is_relative_to(self.root)}
        for base in (source.parent, self.root):
            whole = Path(os.path.normpath(base / stated))
            if whole in folders:
                return [whole]
        parts = _parts(stated)
        lengths = {folder: self._common_end(folder, parts) for folder in folders}
        longest = max(lengths.values(), default=0)
        if not parts or longest < min(len(parts), 2):
            return []
        return sorted(folder for folder in folders if lengths[folder] == longest)

    def _common_end(self, file: Path, parts: Sequence[str]) -> int:
        """Number of parts in which the ends of two paths agree."""
        own = file.relative_to(self.root).parts
        pairs = zip(reversed(own), reversed(parts))
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

    def _nearest(self, annotation: Path, files: list[Path]) -> list[Path]:
        split = self.split(annotation)
        if split:
            files = [file for file in files if self.split(file) in (split, None)]

        def distance(file: Path) -> int:
            if file.parent == annotation.parent:
                return 0
            if _is_beside(file, annotation):
                return 1
            return 2 if self._is_below(file, _PICTURE_FOLDERS) else 3

        nearest = min(map(distance, files), default=0)
        return [file for file in files if distance(file) == nearest]

    def _is_below(self, file: Path, names: Sequence[str]) -> bool:
        return any(part.lower() in names for part in file.relative_to(self.root).parts[:-1])


def _is_beside(file: Path, annotation: Path) -> bool:
    """Whether the folders of two files differ as ``images/a`` and ``labels/a`` do."""
    folders, others = file.parent.parts, annotation.parent.parts
    return len(folders) == len(others) and all(
        folder == other
        or (folder.lower() in _PICTURE_FOLDERS and other.lower() in _ANNOTATION_FOLDERS)
        for folder, other in zip(folders, others)
    )


def _parts(stated: str) -> list[str]:
    """The parts of a path, without its root and steps such as ``..``."""
    normal = posixpath.normpath(stated.replace("\\", "/"))
    return [part for part in normal.split("/") if part not in ("", ".", "..")]


def _visible_files(root: Path) -> Iterator[Path]:
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        shown = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        folders[:] = sorted(name for name in shown if not is_run(Path(folder, name)))
        yield from (Path(folder, name) for name in names if not name.startswith("."))
