"""A loss that is not finite stops the run, with everything that is needed to see it again."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import torch
from classy_vision.generic.distributed_util import get_rank, set_cpu_device
from classy_vision.generic.util import recursive_copy_to_device
from classy_vision.losses import build_loss
from torch import Tensor
from vissl.config import AttrDict
from vissl.models import build_model

from mscn_plugin.checkpoints.io import CheckpointError, load_checkpoint, save_checkpoint
from mscn_plugin.errors import RunError, first_few
from mscn_plugin.losses.byol import BYOLLoss
from mscn_plugin.training.hooks.base import MSCNHook
from mscn_plugin.types import Task

SMALLEST_SCALE = 2.0**-10
"""Scale of mixed precision below which no gradient is large enough to overflow by itself."""
_MAX_NAMED = 16
_SECTIONS = ("MODEL", "OPTIMIZER", "LOSS")
"""Of a configuration, what a step depends on besides its batch and weights."""


class NonFiniteHook(MSCNHook):
    """Takes the place of VISSL's checks for NaN, which continue, or do not name the batch.

    A loss that is not finite is so on all ranks, which average it, and each writes its part of the
    step. Gradients that overflow in half precision are none of it: the scaler skips the step and
    halves its scale, which is logged; a scale of :data:`SMALLEST_SCALE` stops the run, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = 0.0

    def on_loss_and_meter(self, task: Task) -> None:
        self._check_scale(task)
        if math.isfinite(task.losses[-1]):  # VISSL has fetched it; a tensor would be fetched again
            return
        file = Path(task.checkpoint_folder) / f"non_finite_rank{get_rank()}.torch"
        save_checkpoint(step_of(task), file)
        indices = _unique(task.last_batch.sample.get("data_idx", []))
        raise RunError(
            f"the loss of iteration {task.iteration} is {task.last_batch.loss.item()}, for a batch "
            f"of the images {first_few(indices, _MAX_NAMED)}: {file} has the step, and "
            "mscn replay names the first part of the model that is not finite; checkpoints of "
            "earlier iterations are kept"
        )

    def _check_scale(self, task: Task) -> None:
        """Look at the scale that the previous step left: the GPU is done with that one."""
        scaler = task.amp_grad_scaler
        if scaler is None:
            return
        before, self.scale = self.scale, scaler.get_scale()
        iteration = task.iteration - 1
        if self.scale < before:
            logging.warning(
                f"gradients of iteration {iteration} overflow in half precision: the step is "
                f"skipped, and the scale falls from {before:g} to {self.scale:g}"
            )
        if self.scale < SMALLEST_SCALE:
            raise RunError(
                "config.MODEL.AMP_PARAMS.USE_AMP is True, and gradients of iteration "
                f"{iteration} overflow at a scale of {self.scale:g}, where only a NaN can: "
                "train with False, or with a lower learning rate"
            )


def step_of(task: Task) -> dict[str, Any]:
    """What :func:`replay` needs of the step under way: configuration, batch and weights.

    The optimizer has not stepped yet, and in training no statistics are used but the batch's.
    """
    sample = {key: task.last_batch.sample[key] for key in ("input", "data_idx")}
    loss = task.loss
    if isinstance(loss, BYOLLoss):
        sample["projections"] = loss.projections
    tensors = {
        "sample": sample,
        "loss_value": task.last_batch.loss.detach(),
        "model": task.base_model.state_dict(),
        "loss": loss.state_dict(),
    }
    return {
        "iteration": task.iteration,
        "config": json.dumps({key: task.config[key] for key in _SECTIONS}, default=str),
        **recursive_copy_to_device(tensors, non_blocking=False, device=torch.device("cpu")),
    }


def kept_steps(folder: Path) -> list[Path]:
    """The files of all ranks that :class:`NonFiniteHook` has written, by the number of the rank."""
    files = folder.glob("non_finite_rank*.torch")
    return sorted(files, key=lambda file: (len(file.name), file.name))


def replay(file: Path) -> tuple[float | None, list[str]]:
    """Repeat the step that :class:`NonFiniteHook` has kept, on the CPU, in one process.

    In float32, and with the images of one rank alone.

    Returns:
        The loss, None where it needs more than the model's output, as MoCo's keys or DINO's
        teacher, and the names of the modules whose output is not finite, in the order in which
        they ran; empty where only the loss itself is not.

    Raises:
        CheckpointError: it is no such file.
    """
    step = load_checkpoint(file)
    set_cpu_device()
    try:
        config = AttrDict(json.loads(step["config"]))
        model = build_model(config.MODEL, config.OPTIMIZER)
        model.load_state_dict(step["model"])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} is not a step that a run has kept ({error!r})") from None
    model.train()
    broken: list[str] = []

    def watch(name: str) -> Any:
        def look(_module: Any, _inputs: Any, output: Any) -> None:
            if not all(torch.isfinite(tensor).all() for tensor in _all_tensors(output)):
                broken.append(name)

        return look

    for name, module in model.named_modules():
        module.register_forward_hook(watch(name or "the whole model"))
    output = model(step["sample"]["input"])
    output = output[0] if len(output) == 1 else output
    return _loss_of(config, step, output), broken


def _loss_of(config: AttrDict, step: dict[str, Any], output: Any) -> float | None:
    settings = {**config.LOSS[config.LOSS.name], "name": config.LOSS.name}
    try:
        loss = build_loss(AttrDict(settings))
        if isinstance(loss, BYOLLoss):
            loss.projections = step["sample"]["projections"]
        return float(loss(output, None).detach())
    except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        logging.debug(f"the loss of {config.LOSS.name} cannot be repeated: {error!r}")
        return None


def _all_tensors(content: Any) -> list[Tensor]:
    if isinstance(content, Tensor):
        return [content]
    parts = content if isinstance(content, (list, tuple)) else []
    return [tensor for part in parts for tensor in _all_tensors(part)]


def _unique(columns: Any) -> list[int]:
    indices = [index for tensor in _all_tensors(columns) for index in tensor.flatten().tolist()]
    return list(dict.fromkeys(indices))
