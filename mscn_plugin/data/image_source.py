"""What a source of images is: how many, where, with which labels, and how one is read."""

from __future__ import annotations

import abc
import os
from typing import Any, ClassVar

from PIL import Image

from mscn_plugin.data.image_folder import Contents, Extensions, Splits


class ImageSource(abc.ABC):
    """A kind of place that holds images, with labels or without.

    Attributes:
        name: what configurations call it.
        lists: whether an image can be opened and measured by its name alone, so that lists of some
            of the images can be made.
        unlabeled: why a place of its kind has no labels: the end of a sentence.
    """

    name: ClassVar[str]
    lists: ClassVar[bool] = False
    unlabeled: ClassVar[str] = "has no labels of two classes"

    def __init_subclass__(cls) -> None:
        if "name" in vars(cls):
            SOURCES[cls.name] = cls

    @classmethod
    @abc.abstractmethod
    def contents(cls, path: str) -> Contents:
        """The images at ``path``, an entry of ``DATA_PATHS``, with their labels and classes.

        Raises:
            ValueError: there are none; the message is what follows on "which".
        """

    @classmethod
    @abc.abstractmethod
    def open(cls, path: str, image: str) -> Image.Image:
        """One of the images, by its name in :meth:`contents`: opened, not yet decoded."""

    @classmethod
    def content(cls, path: str, image: str) -> bytes:
        """The file of one of the images, as it is; raises OSError."""
        with cls.open(path, image) as opened:
            stream: Any = opened.fp  # type: ignore[attr-defined]
            stream.seek(0)
            return bytes(stream.read())

    @classmethod
    def exists(cls, path: str) -> bool:
        """Whether there is anything at ``path``."""
        return os.path.exists(path)

    @classmethod
    def splits(cls, data: str, extensions: Extensions = ()) -> Splits | None:
        """The splits of what ``MSCN.DATA`` names, or None where that is none of this kind.

        Args:
            extensions: endings of the files that make it a folder of images, in lower case; empty:
                those of pictures.

        Raises:
            ValueError: it is, and cannot be used; the message is what follows on "which".
        """
        return None


SOURCES: dict[str, type[ImageSource]] = {}
"""The sources by their names."""
