"""A dataset that skips image files that cannot be read, and reads each file once."""

from __future__ import annotations

import abc
import functools
import logging
import math
from typing import Any

import numpy as np
import torch
from classy_vision.generic.distributed_util import get_world_size, is_primary
from PIL import Image
from torch import Tensor
from torch.utils.data import get_worker_info
from vissl.data import DATA_SOURCES_WITH_SUBSET_SUPPORT, DATASET_SOURCE_MAP
from vissl.data.disk_dataset import DiskImageDataset
from vissl.data.ssl_dataset import GenericSSLDataset
from vissl.trainer import train_task

from mscn_plugin.data.arrays import ArrayFormat, as_picture, read_array
from mscn_plugin.data.decoding import (
    SAMPLED_CROPS,
    EncodedImage,
    UnreadableImageError,
    printable,
    reading,
)
from mscn_plugin.data.image_folder import PHOTOGRAPHS
from mscn_plugin.data.memory_cache import HeldImage, MemoryCache, make_cache, sizes_refusal
from mscn_plugin.data.seeding import seed_generators
from mscn_plugin.data.sources import SOURCES, find_splits, open_listed
from mscn_plugin.errors import RunError
from mscn_plugin.types import Config

TAKES_UNDECODED = ("MSCNRandomResizedCrops", SAMPLED_CROPS)
"""The transforms that, as the first of a pipeline, choose how to decode a file."""
MAX_UNREADABLE_RUN = 1000
"""After so many unreadable images in a row there is no point in looking for a readable one."""
UNREADABLE = -1
"""``data_valid`` of a sample whose own image could not be read; VISSL's value for it."""
NEARLY_BLANK = 2
"""``data_valid`` of a sample whose image came out nearly blank: true, as VISSL's 1 is."""
MAX_NAMED = 3
"""So many nearly blank images are named where no hook counts them."""

_vissl_build_dataset = train_task.build_dataset


class ReadableImagesDataset(GenericSSLDataset):
    """VISSL's dataset, with the next readable sample in place of one whose file is damaged.

    VISSL's reader of image folders lets a damaged file stop the training. Here the file is named
    in a warning and the sample that follows it in the dataset is used, label included, so that
    what a batch holds depends on nothing but the files. ``data_valid`` of such a sample is
    :data:`UNREADABLE`, and its ``data_idx`` is the one that was requested. Of an image that comes
    out nearly blank it is :data:`NEARLY_BLANK`.

    Attributes:
        epoch: what each sample's randomness depends on besides ``SEED_VALUE`` and its index; None:
            on whatever was drawn before.
    """

    label_sources: list[str]

    def __init__(self, cfg: Config, split: str) -> None:
        readers = {**dict.fromkeys(SOURCES, SourceImages), "disk_filelist": ListedImages}
        super().__init__(
            cfg=cfg,
            split=split,
            dataset_source_map={**DATASET_SOURCE_MAP, **readers},
            data_sources_with_subset={*DATA_SOURCES_WITH_SUBSET_SUPPORT, *SOURCES},
        )
        self.epoch: int | None = None
        self._named = 0
        self._unreadable: set[int] = set()
        self._ranks = get_world_size()  # which workers do not know
        workers = cfg["DATA"].NUM_DATALOADER_WORKERS
        # Images requested, and unreadable ones among them: a row for this process, and one for each
        # worker. No two write to the same row, and all are read by whoever finds another one.
        self._counts = torch.zeros(1 + workers, 2, dtype=torch.int64)
        if workers:
            self._counts.share_memory_()

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.epoch is None:
            self._own_counts[0] += 1
        else:
            seed_generators(self.cfg["SEED_VALUE"], self.epoch, index)
        for step in range(min(len(self), MAX_UNREADABLE_RUN)):
            try:
                sample: dict[str, Any] = super().__getitem__((index + step) % len(self))
            except UnreadableImageError as error:
                self._name_unreadable((index + step) % len(self), error)
                if step == 0 and self.epoch is None:
                    self._own_counts[1] += 1
                    self._check_share(index)
                continue
            count = len(sample["data_idx"])
            if step:
                sample.update(data_idx=[index] * count, data_valid=[UNREADABLE] * count)
            elif self._took_nearly_blank():
                sample.update(data_valid=[NEARLY_BLANK] * count)
                self._name_nearly_blank(index)
            return sample
        raise RunError(
            f"config.DATA.{self.split}: none of {step + 1} images in a row can be read, of "
            f"{len(self)} that were there at the start; is the folder still there?"
        )

    def load_labels(self) -> None:
        """VISSL's labels of its own sources, and those of ours in their places."""
        given = self.label_sources
        self.label_sources = ["synthetic" if name in SOURCES else name for name in given]
        super().load_labels()
        self.label_sources = given
        for place, name in enumerate(given):
            if name in SOURCES:
                self.label_objs[place] = self.data_objs[place].labels()

    def _name_unreadable(self, index: int, error: UnreadableImageError) -> None:
        if index not in self._unreadable:
            logging.warning(f"skipping an unreadable image: {error}")
            self._unreadable.add(index)

    @property
    def _own_counts(self) -> Tensor:
        worker = get_worker_info()
        return self._counts[0 if worker is None else 1 + worker.id]

    def _check_share(self, index: int) -> None:
        """End an evaluation of which too many images are unreadable, ``index`` among them.

        All workers of a rank count together, and compare with its images of the epochs that have
        begun: a few unreadable ones that come first are not many. Pre-training, whose samples have
        an epoch, counts by its hook.
        """
        asked, unreadable = self._counts.sum(dim=0).tolist()
        of_rank = math.ceil(len(self) / self._ranks)
        images = of_rank * math.ceil(asked / of_rank)
        share = self.cfg["MSCN"].get("MAX_UNREADABLE_SHARE", 1.0)
        if unreadable > share * images:
            raise RunError(
                f"config.MSCN.MAX_UNREADABLE_SHARE is {share:g}, and {unreadable} of {images} "
                f"images of config.DATA.{self.split} cannot be read, such as "
                f"{self.path_of(index)}: an accuracy on what is left would be of other images; "
                "repair them, or allow more by config.MSCN.MAX_UNREADABLE_SHARE=<share>"
            )

    def _took_nearly_blank(self) -> bool:
        source = self.data_objs[0]
        return isinstance(source, ImageFiles) and source.took_nearly_blank()

    def _name_nearly_blank(self, index: int) -> None:
        """Warn of the first few; the task's hook counts what an epoch has of them."""
        worker = get_worker_info()
        if self.epoch is None and self._named < MAX_NAMED and (worker is None or worker.id == 0):
            self._named += 1
            logging.warning(nearly_blank_warning(self.path_of(index)))

    def original(self, index: int) -> Image.Image | None:
        """The whole image with this index as a picture; None where it is no file, or unreadable."""
        source = self.data_objs[0]
        if not isinstance(source, ImageFiles):
            return None
        try:
            return source.picture(self.place(index))
        except UnreadableImageError:
            return None

    def size_of(self, index: int) -> tuple[int, int] | None:
        """Width and height in pixels of an image that is a file; None where it is unreadable."""
        source: ImageFiles = self.data_objs[0]
        try:
            return source.size(self.place(index))
        except UnreadableImageError:
            return None

    def place(self, index: int) -> int:
        """Place in the source of the image with this index."""
        if self.data_limit < 0:
            return index
        if not self._subset_initialized:  # workers draw theirs, which is the same
            if not self.labels_init and self.label_sources:
                self.load_labels()
            self._init_image_and_label_subset()
        return int(self.image_and_label_subset[index])

    def path_of(self, index: int) -> str:
        """Path of the image with this index, in characters that any log can hold."""
        return printable(self.data_objs[0].path_of(self.place(index)))

    def paths(self) -> list[str]:
        """Paths of all images of the source, by their place, whatever ``DATA_LIMIT`` takes."""
        source = self.data_objs[0]
        return [printable(source.path_of(place)) for place in range(len(source))]


class ImageFiles(abc.ABC):
    """Images that are files, as VISSL's dataset reads them: each is decoded once.

    Attributes:
        cfg: the configuration.
        split: ``TRAIN`` or ``TEST``.
    """

    cfg: Config
    split: str
    cache: MemoryCache | None = None
    _last: EncodedImage | None = None

    @abc.abstractmethod
    def path_of(self, index: int) -> str:
        """The image's path, or another name by which a user finds it."""

    @abc.abstractmethod
    def _open(self, index: int) -> Image.Image: ...

    @functools.cached_property
    def _arrays(self) -> ArrayFormat | None:
        return ArrayFormat.of(self.cfg)

    def __getitem__(self, index: int) -> tuple[Any, bool]:
        """The image and True: what cannot be read raises UnreadableImageError.

        It is a picture, decoded or not, or of arrays float32 ``[C, H, W]``.
        """
        if self._arrays is not None:
            return self._array(index, self._arrays), True
        transforms = self.cfg["DATA"][self.split].TRANSFORMS
        undecoded = bool(transforms) and transforms[0]["name"] in TAKES_UNDECODED
        self._last = self.encoded(index)
        return self._last if undecoded else self._last.decode().picture, True

    def _array(self, index: int, form: ArrayFormat) -> Tensor:
        return torch.from_numpy(read_array(self.path_of(index), form))

    def picture(self, index: int) -> Image.Image:
        """The image for people; raises UnreadableImageError."""
        if self._arrays is None:
            return self.encoded(index).decode().picture
        shown = self.cfg["MSCN"].get("PICTURE_CHANNELS")
        return as_picture(self._array(index, self._arrays).numpy(), shown)

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of the upright image in pixels; raises UnreadableImageError."""
        if self._arrays is None:
            return self.encoded(index).size
        height, width = self._array(index, self._arrays).shape[1:]
        return width, height

    def encoded(self, index: int) -> EncodedImage:
        """The file, opened or decoded before; raises UnreadableImageError."""
        if self.cache is not None:
            return HeldImage(self.cache, index, functools.partial(self._file, index))
        return self._file(index)

    def hold_in_memory(self, number: int) -> None:
        """Keep the images, so many, as they are decoded.

        Raises:
            RunError: there is no room, or crops on the device need images of one size.
        """
        of_one_size = self.cfg["DATA"][self.split].TRANSFORMS[0]["name"] == SAMPLED_CROPS
        self.cache = make_cache(self._file, number, with_sizes=of_one_size)
        if of_one_size:
            known = self.cache.upright[self.cache.upright.any(axis=1)]
            message = sizes_refusal(map(tuple, known.tolist()))
            if message is not None:
                raise RunError(message)

    def _file(self, index: int) -> EncodedImage:
        path = self.path_of(index)
        with reading(path):
            return EncodedImage(self._open(index), self.cfg["MSCN"].get("PIXEL_RANGE"), path)

    def took_nearly_blank(self) -> bool:
        """Whether the image that was taken last came out nearly blank; it is then forgotten."""
        last, self._last = self._last, None
        return last is not None and last.nearly_blank


class SourceImages(ImageFiles):
    """The images of one of :data:`~mscn_plugin.data.sources.SOURCES`."""

    def __init__(
        self, cfg: Config, data_source: str, path: str, split: str, dataset_name: str
    ) -> None:
        self.cfg, self.split, self.path = cfg, split, path
        self.source = SOURCES[data_source]
        try:
            self.contents = self.source.contents(path)
        except ValueError as error:  # since the start, when it was checked
            raise RunError(f"config.DATA.{split}: {path!r} {error}") from None
        data = cfg.get("MSCN", {}).get("DATA")
        if data and data != PHOTOGRAPHS:
            channels = cfg["MSCN"].get("CHANNELS")
            _say_once(find_splits(str(data), "config.MSCN.DATA", channels).in_words())
        level = logging.WARNING if self.contents.left_out else logging.INFO
        _say_once(f"{split}: {self.contents.in_words()}", level)

    def __len__(self) -> int:
        return len(self.contents.images)

    def path_of(self, index: int) -> str:
        return self.contents.images[index][0]

    def _open(self, index: int) -> Image.Image:
        return self.source.open(self.path, self.path_of(index))

    def get_image_paths(self) -> list[str]:
        """All paths; VISSL asks for them when it writes features."""
        return [path for path, _ in self.contents.images]

    def labels(self) -> np.ndarray:
        """The images' labels, int64 ``[N]``."""
        return self.contents.labels()


class ListedImages(ImageFiles, DiskImageDataset):
    """VISSL's ``disk_filelist``."""

    def path_of(self, index: int) -> str:
        if len(self.image_dataset) == 0:  # VISSL hands workers no list, and each reads it once
            self._load_data(self._path)
        path = str(self.image_dataset[index])
        return str(self._replace_img_path_prefix(path, self._remove_prefix, self._new_prefix))

    def _open(self, index: int) -> Image.Image:
        return open_listed(self.path_of(index))


def nearly_blank_warning(path: str) -> str:
    """The warning about a picture that comes out nearly blank."""
    return (
        f"{path} comes out nearly blank: hardly anything of it is left to learn from. If it uses a "
        "part of its type's values only, such as 12 of 16 bits, state the data set's black and "
        "white by config.MSCN.PIXEL_RANGE=[0,4095]; transparent pixels are white"
    )


_said: set[str] = set()


def _say_once(text: str, level: int = logging.INFO) -> None:
    """Log a line on the first rank, once: an online evaluation reads the folders again."""
    if is_primary() and text not in _said:
        _said.add(text)
        logging.log(level, printable(text))


def dataset_of(cfg: Config, split: str) -> ReadableImagesDataset:
    """The dataset of a split for epoch after epoch, with ``MSCN.CACHE`` for training images."""
    dataset = ReadableImagesDataset(cfg, split)
    if split == "TRAIN" and cfg["MSCN"].get("CACHE") == "memory":
        for source in dataset.data_objs:
            source.hold_in_memory(len(source))
    return dataset


@functools.wraps(_vissl_build_dataset)
def build_dataset(cfg: Config, split: str, **options: Any) -> GenericSSLDataset:
    """VISSL's dataset; for a configuration with a part of MSCN, evaluations among them, ours."""
    if "MSCN" in cfg:
        return dataset_of(cfg, split)
    return _vissl_build_dataset(cfg, split, **options)


def install() -> None:
    """Put :func:`build_dataset` in the place of VISSL's in its training task."""
    train_task.build_dataset = build_dataset
