"""The sources of images that ``DATA_SOURCES`` and ``LABEL_SOURCES`` can name, beside VISSL's own.

A new source is a class below :class:`ImageSource`: from then on configurations can name it, and
checks, training, evaluations and reports take its images and labels.
"""

from __future__ import annotations

import abc
import os
from typing import ClassVar

from PIL import Image

from mscn_plugin.data.image_folder import WANTED, Contents, contents, image_extensions

FOLDER = "disk_folder"
"""What ``MSCN.DATA`` names, and of which lists of files can be made."""


class ImageSource(abc.ABC):
    """A kind of place that holds images, with labels or without.

    Attributes:
        name: what configurations call it.
    """

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
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


SOURCES: dict[str, type[ImageSource]] = {}
"""The sources by their names."""


class ImageFolderSource(ImageSource):
    """A folder of image files, with a sub-folder per class where it has labels."""

    name = FOLDER

    @classmethod
    def contents(cls, path: str) -> Contents:
        if not os.path.isdir(path):
            raise ValueError(f"is not a folder; it must be a {WANTED}")
        try:
            os.listdir(path)
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from None
        found = contents(path)
        if not found.images:
            raise ValueError(
                f"holds no images ({', '.join(image_extensions())}{found.left_out_in_words()}); it "
                f"must be a {WANTED}"
            )
        return found

    @classmethod
    def open(cls, path: str, image: str) -> Image.Image:
        return Image.open(image)
