"""``TRAINER.TASK_NAME: mscn_task``: VISSL's task with MSCN's hooks and dataset."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from classy_vision.generic.distributed_util import broadcast_object, get_rank
from classy_vision.hooks import ClassyHook
from classy_vision.tasks import register_task
from torch.nn.parallel import DistributedDataParallel
from vissl.hooks.dino_hooks import DINOHook
from vissl.hooks.grad_clip_hooks import GradClipHook
from vissl.hooks.log_hooks import LogLossMetricsCheckpointHook
from vissl.hooks.moco_hooks import MoCoHook
from vissl.hooks.state_update_hooks import (
    CheckNanLossHook,
    CheckNanModelOutputHook,
    FreezeParametersHook,
)
from vissl.hooks.swav_momentum_hooks import SwAVMomentumHook
from vissl.trainer.train_task import SelfSupervisionTask

from mscn_plugin.checkpoints.complete import is_within_epoch
from mscn_plugin.checkpoints.fingerprint import (
    MACHINE_KEY,
    RECIPE_KEY,
    pin_machine,
    recipe_of,
    this_machine,
)
from mscn_plugin.checkpoints.io import SIGMA_KEY
from mscn_plugin.checkpoints.sigma import input_sigma
from mscn_plugin.data.readable_images import dataset_of
from mscn_plugin.schema import complete_settings
from mscn_plugin.training.hooks.checkpoints import CheckpointHook
from mscn_plugin.training.hooks.dino_teacher import DINOTeacherHook
from mscn_plugin.training.hooks.embedding_statistics import EmbeddingStatisticsHook
from mscn_plugin.training.hooks.frozen_parameters import FrozenParametersHook
from mscn_plugin.training.hooks.gradient_clipping import UnscaledGradClipHook
from mscn_plugin.training.hooks.masked_views_picture import MaskedViewsPictureHook
from mscn_plugin.training.hooks.moco_encoder import MoCoEncoderHook
from mscn_plugin.training.hooks.non_finite import NonFiniteHook
from mscn_plugin.training.hooks.online_evaluation import OnlineEvaluationHook
from mscn_plugin.training.hooks.out_of_memory import OutOfMemoryHook
from mscn_plugin.training.hooks.progress_bar import ProgressBarHook
from mscn_plugin.training.hooks.run_length import RunLengthHook
from mscn_plugin.training.hooks.swav_encoder import SwAVEncoderHook
from mscn_plugin.training.hooks.target_network import TargetNetworkHook
from mscn_plugin.training.hooks.tracking_mlflow import MLflowHook
from mscn_plugin.training.hooks.tracking_wandb import WandbHook
from mscn_plugin.training.hooks.unreadable_images import UnreadableImagesHook
from mscn_plugin.training.place import PLACE_KEY, Place, place_of
from mscn_plugin.training.ranks import Ranks
from mscn_plugin.training.resumable_loader import ResumableLoader
from mscn_plugin.transforms.loader_pipeline import loader_config
from mscn_plugin.transforms.on_device import DeviceViewsLoader
from mscn_plugin.types import Config

_SERVICES = {hook.service: hook for hook in (WandbHook, MLflowHook)}
_VISSLS_NAN_CHECKS = (CheckNanLossHook, CheckNanModelOutputHook)


def _ours(hook: ClassyHook) -> ClassyHook:
    """The hook of ours that takes the place of one of VISSL's, or VISSL's."""
    if type(hook) is LogLossMetricsCheckpointHook:
        return CheckpointHook(hook.world_size)
    if type(hook) is GradClipHook:
        return UnscaledGradClipHook(hook.norm_type, hook.max_norm)
    if type(hook) is FreezeParametersHook:
        return FrozenParametersHook()
    if type(hook) is MoCoHook:
        return MoCoEncoderHook(hook.momentum, hook.shuffle_batch)
    if type(hook) is SwAVMomentumHook:
        starts_eval = hook.momentum_eval_mode_iter_start
        return SwAVEncoderHook(hook.momentum, starts_eval, hook.crops_for_assign)
    return DINOTeacherHook() if type(hook) is DINOHook else hook


@register_task("mscn_task")
class MSCNTask(SelfSupervisionTask):
    """VISSL's self-supervision task, extended from outside.

    It works with every VISSL loss and collator. Beside VISSL's own hooks it runs the target
    network of ``byol_loss``, the online evaluation, the embedding statistics, the picture of
    masked views and the progress bar, as the ``MSCN`` section of the configuration says
    (:mod:`mscn_plugin.schema`).

    Attributes:
        ahead: steps that ``iteration`` counts beyond those of a run that has had the current number
            of steps per epoch from its start; negative where it counts fewer. Schedules follow
            :func:`~mscn_plugin.training.hooks.base.steps_of_schedules`.
    """

    config: Config
    ahead = 0
    _resumed: Place | None = None
    _steps = -1

    def __init__(self, config: Config) -> None:
        complete_settings(config)
        super().__init__(config)
        self.recipe = recipe_of(config)
        self.loader_config, self.device_views = loader_config(config)

    @property
    def max_iteration(self) -> int:
        """The last iteration's number. VISSL sets it as if all epochs had the current steps."""
        return self._steps + self.ahead

    @max_iteration.setter
    def max_iteration(self, steps: int) -> None:
        self._steps = steps

    def _build_model(self) -> torch.nn.Module:
        """VISSL's model in the memory format and with the compilation that ``MSCN`` states.

        Neither changes names or values of the parameters: checkpoints are interchangeable.
        """
        # A trunk may remove keys from the configuration that it is built from, and MoCo builds a
        # second model from it.
        with self._configured_by(copy.deepcopy(self.config)):
            model = super()._build_model()
        if self.config.MSCN.CHANNELS_LAST:
            model = model.to(memory_format=torch.channels_last)
        if self.config.MSCN.COMPILE_TRUNK:
            model.trunk.compile()
        return model

    def get_classy_state(self, deep_copy: bool = False) -> dict[str, Any]:
        """VISSL's state, and what an evaluation and an exact resume need in addition."""
        state = super().get_classy_state(deep_copy)
        state[RECIPE_KEY] = json.dumps(self.recipe)
        state[MACHINE_KEY] = json.dumps(this_machine())
        if self.amp_grad_scaler is not None:  # VISSL restores it, and saves apex's alone
            state["amp"] = self.amp_grad_scaler.state_dict()
        if "train" in self.dataloaders:
            per_epoch = len(self.dataloaders["train"])
            state[PLACE_KEY] = {"step": self.iteration - self.ahead, "per_epoch": per_epoch}
        state[SIGMA_KEY] = torch.tensor(input_sigma(self.config, "TRAIN"), dtype=torch.float64)
        return state

    def _set_classy_state(self, state: dict[str, Any]) -> None:
        """VISSL's, at the current place; it expects a scaler where there is the state of one."""
        if self.checkpoint is not None and "train" in self.dataloaders:
            batch = self.datasets["train"].get_global_batchsize()
            within = is_within_epoch(Path(self.checkpoint_path))
            place = place_of(self.checkpoint, len(self.dataloaders["train"]), within)
            self._resumed, self.ahead = place, self.checkpoint["iteration"] - place.step
            state = {**state, "num_updates": place.step * batch}  # images, which rates follow
        if "amp" in state and self.amp_type is None:
            logging.info("the checkpoint is of a run in mixed precision: its scale is not used")
            state = {key: value for key, value in state.items() if key != "amp"}
        super()._set_classy_state(state)

    def set_hooks(self, hooks: list[ClassyHook]) -> MSCNTask:
        """Add MSCN's hooks after VISSL's, so that they see what VISSL's have done.

        Some take the place of VISSL's: checkpoints that are complete, checks for NaN, frozen
        parameters, clipped gradients, and the second networks of DINO, MoCo and SwAV.
        """
        kept = [_ours(h) for h in hooks if not isinstance(h, _VISSLS_NAN_CHECKS)]
        services = [_SERVICES[name] for name in self.config.MSCN.TRACKING]
        mine = (
            *services,
            NonFiniteHook,
            OutOfMemoryHook,
            UnreadableImagesHook,
            *([TargetNetworkHook] if self.config.LOSS.name == "byol_loss" else []),
            EmbeddingStatisticsHook,
            OnlineEvaluationHook,
            MaskedViewsPictureHook,
            ProgressBarHook,
            RunLengthHook,
        )
        return super().set_hooks([*kept, *(hook() for hook in mine)])

    def prepare(self, pin_memory: bool = False) -> Any:
        """VISSL's, from the first rank's checkpoint, with the threads that wrote it."""
        self.set_checkpoint_path(broadcast_object(self.checkpoint_path))
        self.ranks = Ranks()
        prepared = super().prepare(pin_memory)
        if self.checkpoint is not None:
            pin_machine(self.checkpoint)
        return prepared

    def init_distributed_data_parallel_model(self) -> None:
        """VISSL's; on a CPU without a rearrangement of the gradients' buckets.

        DistributedDataParallel would rearrange them after the first step of each start, and three
        and more ranks would then sum in another order after a resume than before.
        """
        recomputed = self.config.MODEL.ACTIVATION_CHECKPOINTING.USE_ACTIVATION_CHECKPOINTING
        self.find_unused_parameters = self.device.type == "cpu" and not recomputed
        super().init_distributed_data_parallel_model()
        if recomputed and isinstance(self.distributed_model, DistributedDataParallel):
            # A block that two branches pass is recomputed twice in one backward pass, and its
            # parameters are then ready twice, which only a graph that never changes may have.
            self.distributed_model._set_static_graph()

    def build_datasets(self, current_train_phase_idx: int = 0) -> tuple[dict[str, Any], Any]:
        """VISSL's datasets of all splits, with unreadable images skipped."""
        datasets, keys = {}, {}
        for split in self.available_splits:
            datasets[split.lower()] = dataset_of(self.loader_config, split)
            section = self.config.DATA[split]
            keys = {"input": section.INPUT_KEY_NAMES, "target": section.TARGET_KEY_NAMES}
        return datasets, keys

    def build_dataloaders(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """VISSL's loaders, the training one followed by the stage on the device if there is one."""
        with self._configured_by(self.loader_config):
            built = super().build_dataloaders(*args, **kwargs)
        seed, rank = self.config.SEED_VALUE, get_rank()
        loaders: dict[str, Any] = {
            split: ResumableLoader(loader, seed, rank) for split, loader in built.items()
        }
        if self.device_views and "train" in loaders:
            loaders["train"] = DeviceViewsLoader(loaders["train"], self.device_views, self.device)
        return loaders

    def _compute_start_iter_from_checkpoint(self, phase_type: str) -> int:
        """VISSL would take the iteration for one of a run with the current steps per epoch."""
        return self._resumed.batch if self._resumed and phase_type == "train" else 0

    def set_epoch(self, phase_type: str, epoch: int, start_iter: int, train_phase_idx: int) -> None:
        """VISSL's, for loaders that begin within an epoch and samples that are seeded by it."""
        super().set_epoch(phase_type, epoch, start_iter, train_phase_idx)
        loader = self.dataloaders[phase_type]
        loader.start(epoch, start_iter)
        loader.skip(0 if hasattr(loader.sampler, "set_start_iter") else start_iter)
        self.datasets[phase_type].epoch = epoch

    @contextlib.contextmanager
    def _configured_by(self, config: Config) -> Iterator[None]:
        own, self.config = self.config, config
        try:
            yield
        finally:
            self.config = own
