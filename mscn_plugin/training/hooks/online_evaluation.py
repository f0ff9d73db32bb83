"""kNN and linear-probe accuracy of the frozen trunk during pre-training.

Labels are read here and nowhere else; without labels there is no online evaluation.

Shape shorthand: N training images, M validation images, F features.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from classy_vision.generic.distributed_util import (
    broadcast_object,
    gather_from_all,
    get_rank,
    get_world_size,
    is_distributed_training_run,
    is_primary,
)
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from vissl.utils.io import save_file

from mscn_plugin.checkpoints.run_folder import evaluated_epochs, json_lines, measured_on
from mscn_plugin.data.arrays import value_histogram
from mscn_plugin.data.image_folder import held_out_fifth
from mscn_plugin.data.photographs import color_histogram
from mscn_plugin.data.readable_images import UNREADABLE, ReadableImagesDataset
from mscn_plugin.data.shared_memory import collate_for_trainer
from mscn_plugin.data.sources import SOURCES
from mscn_plugin.models.classifiers import Labeled, knn_accuracy, probe_accuracy
from mscn_plugin.training.hooks.base import MSCNHook, steps_of_schedules
from mscn_plugin.training.hooks.tracking import add_scalars
from mscn_plugin.training.signals import interruption, shield_loader_worker
from mscn_plugin.transforms.stated import NOT_NORMALIZED, normalization
from mscn_plugin.types import Config, Task

_HISTOGRAM_SIDE = 256  # pixels; larger images are reduced before their colors are counted


def accuracies(
    train: Labeled, val: Labeled, settings: Any, device: Any = "cpu"
) -> dict[str, float]:
    """kNN and linear-probe accuracy in percent, with the settings of ``ONLINE_EVALUATION``."""
    neighbors, temperature = settings.NUM_NEIGHBORS, settings.TEMPERATURE
    knn = knn_accuracy(train, val, neighbors, temperature, device=device)
    return {"knn": knn[1], "linear_probe": probe_accuracy(train, val)}


class OnlineEvaluationHook(MSCNHook):
    """Evaluates the trunk before the first epoch, every few epochs, and at the end.

    All ranks compute features; the first rank fits and reports, like VISSL's meters, to the log,
    to ``metrics.json``, and to tracking (``Online/...``). With the accuracies it reports the
    images that they were measured on, and what chance and a color histogram reach on these.
    """

    def __init__(self) -> None:
        super().__init__()
        self.data: EvaluationData | None = None
        self.baselines: dict[str, Any] = {}

    def on_start(self, task: Task) -> None:
        if not task.config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS or task.test_only:
            return
        self.data = EvaluationData.of(task.config)
        # A kill may have come between an epoch's checkpoint and its evaluation.
        step, steps = steps_of_schedules(task)
        epochs, within = divmod(step, steps // task.num_train_phases)
        if self.data is None or within or not is_due(task, epochs - 1):
            return
        if epochs - 1 != task.train_phase_idx:  # stopped after the epoch's last step: not yet over
            return
        lines = json_lines(Path(task.checkpoint_folder) / "metrics.json")
        missing = epochs - 1 not in evaluated_epochs(lines)
        if task.iteration == 0 or broadcast_object(missing):
            self._evaluate(task, epochs - 1)

    def on_phase_end(self, task: Task) -> None:
        if self.follows(task):
            self._evaluate(task, task.train_phase_idx)

    def follows(self, task: Task) -> bool:
        """Whether there is an evaluation after the phase that has ended."""
        return self.data is not None and task.train and is_due(task, task.train_phase_idx)

    def _evaluate(self, task: Task, epoch: int) -> None:
        """Evaluate after ``epoch``; -1 is before the first one, the trunk as it starts."""
        assert self.data is not None
        interruption.end_if_asked()
        start = time.monotonic()
        network = task.base_model
        if task.config.MSCN.ONLINE_EVALUATION.NETWORK == "target":
            network = task.loss.target
        with evaluation_mode(network.trunk) as trunk:
            train, val = self.data.features(lambda images: trunk(images, [])[-1], task.device)
        classes = len(set(train[1].tolist()))
        unseen = classes - len(set(val[1].tolist()))
        if unseen > 0 and epoch < 0:
            logging.warning(
                f"online evaluation: the {len(val[1])} validation images have none of {unseen} of "
                f"the {classes} classes"
            )
        if classes < 2:
            logging.info(
                f"no online evaluation: the {len(train[1])} training images have one class"
            )
            self.data = None
            return
        settings = task.config.MSCN.ONLINE_EVALUATION
        metrics = Path(task.checkpoint_folder) / "metrics.json"
        if not self.baselines:
            known = _known_baselines(metrics, self.data.images(), _knn(settings))
            self.baselines = broadcast_object(known)
        if not self.baselines:
            colors = self.data.color_histograms()
            self.baselines = {"images": self.data.images(), "chance": 100 / classes}
            self.baselines["knn_settings"] = _knn(settings)
            if is_primary():
                self.baselines["color_histogram"] = accuracies(*colors, settings, task.device)
        if is_primary():
            values = accuracies(train, val, settings, task.device)
            seconds = time.monotonic() - start
            text = {name: round(value, 2) for name, value in values.items()}
            logging.info(f"Rank: 0, name: online_evaluation, value: {text} ({seconds:.1f} s)")
            line = {"iteration": task.iteration, "train_phase_idx": epoch}
            line = {**line, "online_evaluation": values, **self.baselines}
            logging.info(f"online_evaluation: {measured_on(line)}")
            save_file(line, str(metrics), verbose=False)
            chance = {"chance": self.baselines["chance"]}
            colors = self.baselines["color_histogram"].items()
            baselines = {**chance, **{f"color_histogram_{name}": value for name, value in colors}}
            add_scalars(task, "Online", {**values, **baselines}, epoch + 1, axis="epoch")
        task.ranks.wait()


def _knn(settings: Any) -> dict[str, float]:
    """The settings of kNN, on which the baseline depends as much as the trunk's accuracy."""
    return {"neighbors": settings.NUM_NEIGHBORS, "temperature": settings.TEMPERATURE}


def _known_baselines(
    metrics: Path, images: dict[str, Any], knn: dict[str, float]
) -> dict[str, Any]:
    """What an earlier start has measured on the same images with the same kNN, or nothing."""
    names = ("images", "chance", "knn_settings", "color_histogram")
    for line in json_lines(metrics):
        same = line.get("images") == images and line.get("knn_settings") == knn
        if same and "color_histogram" in line:
            return {name: line[name] for name in names}
    return {}


def is_due(task: Task, epoch: int) -> bool:
    """Whether there is an evaluation after ``epoch``; -1 is before the first one."""
    every = task.config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS
    return (epoch + 1) % every == 0 or epoch + 1 == task.num_train_phases


@contextlib.contextmanager
def evaluation_mode(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Switch ``module`` to evaluation and gradients off, and put both back.

    All ranks evaluate with the first one's running statistics, which a checkpoint holds: the
    accuracy is the same where it is made up for after a restart.
    """
    training = module.training
    module.eval()
    own = [buffer.clone() for buffer in module.buffers()]
    try:
        with torch.no_grad():
            if is_distributed_training_run():
                for buffer in module.buffers():
                    dist.broadcast(buffer, 0)
            yield module
    finally:
        module.train(training)
        for buffer, before in zip(module.buffers(), own):
            buffer.copy_(before)


def _first_view(samples: Any) -> tuple[Tensor, Tensor]:
    return torch.stack([sample["data"][0] for sample in samples]), _labels(samples)


def _labels(samples: Any) -> Tensor:
    """The labels; :data:`UNREADABLE` of a sample that stands in for an image that is."""
    replaced = [int(sample["data_valid"][0]) == UNREADABLE for sample in samples]
    labels = (int(sample["label"][0]) for sample in samples)
    return torch.tensor([UNREADABLE if r else label for r, label in zip(replaced, labels)])


def _histograms(samples: Any) -> tuple[Tensor, Tensor]:
    images = [sample["data"][0] for sample in samples]
    for image in images:
        image.thumbnail((_HISTOGRAM_SIDE, _HISTOGRAM_SIDE), Image.Resampling.NEAREST)
    return torch.from_numpy(color_histogram(images)), _labels(samples)


def _value_histograms(normalize: dict[str, Any], samples: Any) -> tuple[Tensor, Tensor]:
    """The same of arrays, around the mean of each channel."""
    histograms = [
        value_histogram(sample["data"][0].numpy(), normalize["mean"], normalize["std"])
        for sample in samples
    ]
    return torch.from_numpy(np.stack(histograms)), _labels(samples)


def _undecorated(images: Subset) -> Subset:
    """The same images without transforms."""
    dataset: Any = copy.copy(images.dataset)
    dataset.transform = None
    return Subset(dataset, images.indices)


def _path_of(images: Subset) -> str:
    dataset: Any = images.dataset
    return str(dataset.data_paths[0])


def _why(config: Config) -> str:
    """Why the training images have no labels: the folder's fault, or the configuration's."""
    train = config.DATA.TRAIN
    for name, path in zip(train.DATA_SOURCES, train.DATA_PATHS):
        if name in SOURCES and not SOURCES[name].contents(path).labeled:
            return f"{path} {SOURCES[name].unlabeled}"
    return "config.DATA.TRAIN.LABEL_SOURCES is empty"


class EvaluationData:
    """The labeled images of an online evaluation, with the transforms of ``DATA.TEST``.

    Training images are those of ``DATA.TRAIN``, validation images those of ``DATA.TEST``; where
    there are none of the latter, every fifth training image is held out from the classifiers (the
    trunk has seen it, without its label). Above the configured maximum a fixed random part is
    used, the same in every epoch and run.
    """

    def __init__(self, config: Config, train: Subset, val: Subset) -> None:
        self.config = config
        self.train = train
        self.val = val
        self.unreadable = {"train": 0, "val": 0}
        self.places: dict[str, np.ndarray] = {}

    @classmethod
    def of(cls, config: Config) -> EvaluationData | None:
        """The data that ``config`` describes, or None, with the reason logged, without labels."""
        settings = config.MSCN.ONLINE_EVALUATION
        if not config.DATA.TRAIN.LABEL_SOURCES:
            logging.info(
                f"no online evaluation: the training images have no labels ({_why(config)})"
            )
            return None
        if not config.DATA.TEST.TRANSFORMS:
            logging.info("no online evaluation: config.DATA.TEST.TRANSFORMS is empty")
            return None
        config = copy.deepcopy(config)
        config.DATA.TRAIN.TRANSFORMS = config.DATA.TEST.TRANSFORMS
        train = ReadableImagesDataset(config, "TRAIN")
        if config.DATA.TEST.DATA_SOURCES and config.DATA.TEST.LABEL_SOURCES:
            val = ReadableImagesDataset(config, "TEST")
            order, held_out = (np.random.RandomState(0).permutation(len(d)) for d in (train, val))
        else:
            val, (order, held_out) = train, held_out_fifth(len(train))
        if not len(order):
            logging.info("no online evaluation: there is one training image")
            return None
        return cls(
            config,
            Subset(train, order[: settings.MAX_TRAIN_IMAGES].tolist()),
            Subset(val, held_out[: settings.MAX_VAL_IMAGES].tolist()),
        )

    def features(
        self, extract: Callable[[Tensor], Tensor], device: torch.device
    ) -> tuple[Labeled, Labeled]:
        """Features and labels of training and validation images, complete on every rank.

        Unreadable images are left out, and counted in :attr:`unreadable`. The places of the others
        in :attr:`train` and :attr:`val` are in :attr:`places`.

        Args:
            extract: from images ``[B, C, H, W]`` on ``device`` to features ``[B, F, ...]``.
        """
        *train, self.places["train"] = self._labeled(self.train, extract, device)
        *val, self.places["val"] = self._labeled(self.val, extract, device)
        self.unreadable = {
            "train": len(self.train) - len(train[1]),
            "val": len(self.val) - len(val[1]),
        }
        return (train[0], train[1]), (val[0], val[1])

    def images(self) -> dict[str, Any]:
        """Number of readable images of both kinds, of the others, and where they are.

        ``held_out`` is whether both kinds are in the same folder or list.
        """
        content: dict[str, Any] = {"held_out": self.val.dataset is self.train.dataset}
        for name, images in (("train", self.train), ("val", self.val)):
            unreadable = self.unreadable[name]
            content[name] = {"number": len(images) - unreadable, "path": _path_of(images)}
            if unreadable:
                content[name]["unreadable"] = unreadable
        return content

    def color_histograms(self) -> tuple[Labeled, Labeled]:
        """Histograms and labels of the whole images, complete on every rank.

        They are of colors, or of arrays of the values of each channel.
        """
        collate = _histograms
        if self.config.MSCN.CHANNELS is not None:
            stated = normalization(self.config.DATA.TEST.TRANSFORMS) or NOT_NORMALIZED
            collate = functools.partial(_value_histograms, stated)
        train, val = (
            self._labeled(_undecorated(images), lambda x: x, torch.device("cpu"), collate)[:2]
            for images in (self.train, self.val)
        )
        return train, val

    def _labeled(
        self, images: Subset, extract: Any, device: torch.device, collate: Any = _first_view
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features and labels of the readable images, and the places of these in ``images``."""
        # Every rank takes every world_size-th image; the last round is filled up to equal length.
        world_size = get_world_size()
        padded = -(-len(images) // world_size) * world_size
        mine = [index % len(images) for index in range(get_rank(), padded, world_size)]
        batch_size = max(32, self.config.DATA.TRAIN.BATCHSIZE_PER_REPLICA)
        batches = -(-len(mine) // batch_size)
        loader = DataLoader(
            Subset(images, mine),
            batch_size=batch_size,
            # A worker takes seconds to start, more than a few images do.
            num_workers=min(self.config.DATA.NUM_DATALOADER_WORKERS, batches - 1),
            collate_fn=functools.partial(collate_for_trainer, collate),
            worker_init_fn=shield_loader_worker,
        )
        features, labels = [], []
        for batch, batch_labels in loader:
            features.append(extract(batch.to(device)).flatten(1).float().cpu())
            labels.append(batch_labels)
        everyone = [
            gather_from_all(part).view(world_size, len(mine), -1).transpose(0, 1)
            for part in (torch.cat(features), torch.cat(labels))
        ]
        x, y = (part.reshape(padded, -1)[: len(images)].cpu().numpy() for part in everyone)
        readable = y[:, 0] != UNREADABLE
        return x[readable], y[readable, 0], readable.nonzero()[0]
