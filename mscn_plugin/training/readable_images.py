"""A dataset that goes on where an image file cannot be read."""

from __future__ import annotations

import logging
from typing import Any, Dict

from PIL import Image
from torchvision.datasets import ImageFolder
from vissl.data.ssl_dataset import GenericSSLDataset


class UnreadableImageError(Exception):
    """An image file that cannot be opened or decoded."""


class ReadableImagesDataset(GenericSSLDataset):
    """VISSL's dataset, with the next readable sample in place of one whose file is damaged.

    VISSL's reader of image folders lets a damaged file stop the training. Here the file is named
    in a warning and the sample that follows it in the dataset is used, label included, so that
    what a batch holds depends on nothing but the files.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for source in self.data_objs:
            folder = getattr(source, "image_dataset", None)
            if isinstance(folder, ImageFolder):
                folder.loader = read_rgb

    def __getitem__(self, index: int) -> Dict[str, Any]:
        for step in range(len(self)):
            try:
                return super().__getitem__((index + step) % len(self))
            except UnreadableImageError as error:
                logging.warning(f"skipping an unreadable image: {error}")
        raise RuntimeError(f"none of the {len(self)} images of split {self.split} can be read")


def read_rgb(path: str) -> Image.Image:
    """Read an image file as RGB.

    Raises:
        UnreadableImageError: it cannot be opened or decoded; Pillow raises many kinds of exception.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception as error:
        raise UnreadableImageError(f"{path}: {type(error).__name__}: {error}") from error
