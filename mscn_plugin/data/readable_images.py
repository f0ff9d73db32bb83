"""A dataset that goes on where an image file cannot be read, and reads each file once."""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Dict, Iterator, Tuple

from PIL import Image
from vissl.data import DATA_SOURCES_WITH_SUBSET_SUPPORT, DATASET_SOURCE_MAP
from vissl.data.disk_dataset import DiskImageDataset
from vissl.data.ssl_dataset import GenericSSLDataset

TAKES_UNDECODED = "MSCNRandomResizedCrops"
"""The transform that, as the first of a pipeline, chooses how to decode a file."""


class UnreadableImageError(Exception):
    """An image file that cannot be opened or decoded."""


class ReadableImagesDataset(GenericSSLDataset):
    """VISSL's dataset, with the next readable sample in place of one whose file is damaged.

    VISSL's reader of image folders lets a damaged file stop the training. Here the file is named
    in a warning and the sample that follows it in the dataset is used, label included, so that
    what a batch holds depends on nothing but the files.
    """

    def __init__(self, cfg: Any, split: str) -> None:
        super().__init__(
            cfg=cfg,
            split=split,
            dataset_source_map={**DATASET_SOURCE_MAP, "disk_folder": ImageFolderSource},
            data_sources_with_subset=DATA_SOURCES_WITH_SUBSET_SUPPORT,
        )

    def __getitem__(self, index: int) -> Dict[str, Any]:
        for step in range(len(self)):
            try:
                return super().__getitem__((index + step) % len(self))
            except UnreadableImageError as error:
                logging.warning(f"skipping an unreadable image: {error}")
        raise RuntimeError(f"none of the {len(self)} images of split {self.split} can be read")


class ImageFolderSource(DiskImageDataset):
    """VISSL's ``disk_folder``, which itself decodes every file twice."""

    def __getitem__(self, index: int) -> Tuple[Image.Image, bool]:
        """The image and True: what cannot be read raises UnreadableImageError."""
        path, _ = self.image_dataset.samples[index]
        transforms = self.cfg["DATA"][self.split].TRANSFORMS
        undecoded = bool(transforms) and transforms[0]["name"] == TAKES_UNDECODED
        with reading(path):
            image = Image.open(path)
            return image if undecoded else to_rgb(image), True


def to_rgb(image: Image.Image) -> Image.Image:
    """Decode an opened image, close its file and convert it to RGB."""
    with image:
        return image.convert("RGB")


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn the many kinds of exception that Pillow raises into :class:`UnreadableImageError`."""
    try:
        yield
    except Exception as error:
        raise UnreadableImageError(f"{path}: {type(error).__name__}: {error}") from error
