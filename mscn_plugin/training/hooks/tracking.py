"""Where a run's curves and pictures go: TensorBoard, and services that compare runs.

One hook for each service, a :class:`TrackingHook`; ``MSCN.TRACKING`` names them. The libraries are
imported where a run uses them, by the first rank alone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from classy_vision.generic.distributed_util import is_primary
from vissl.hooks import SSLTensorboardHook

from mscn_plugin.errors import RunError, in_one_line
from mscn_plugin.files import save_json
from mscn_plugin.training.hooks.base import MSCNHook, is_logging_step
from mscn_plugin.training.signals import EXIT_CODES
from mscn_plugin.types import Task

IDS = "tracking.json"
"""The file in a run's folder with its id in each service, by which a resumed run continues."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
End = Literal["finished", "interrupted", "failed"]
"""How a run ended; one that was interrupted continues when it is started again."""
_running: list[TrackingHook] = []


class TrackingHook(MSCNHook):
    """Writes loss, learning rate and all that other hooks log to one service.

    What fails at the start of a new run ends it. Later failures never do: after one warning the
    run continues without the service.
    """

    service: str
    """Its name in ``MSCN.TRACKING``."""

    def begin(self, task: Task, run_id: str | None) -> str:
        """Begin a run with the task's configuration, or continue the one that has ``run_id``.

        Returns:
            The run's id.
        """
        raise NotImplementedError

    def write(self, values: dict[str, float], axis: str, at: int) -> None:
        """Add a point to each curve, at ``at`` on ``axis``: "iteration" or "epoch"."""
        raise NotImplementedError

    def write_picture(self, name: str, pixels: np.ndarray, iteration: int) -> None:
        """Add a picture, ``[H, W, 3]`` in uint8."""
        raise NotImplementedError

    def finish(self, end: End) -> None:
        """Mark the run with its end, and wait until all is written."""
        raise NotImplementedError

    def on_start(self, task: Task) -> None:
        if not is_primary() or task.test_only:
            return
        ids_file = Path(task.checkpoint_folder) / IDS
        ids = _ids(ids_file)
        starts_over = task.iteration == 0 and task.config.CHECKPOINT.OVERWRITE_EXISTING
        try:
            ids[self.service] = self.begin(task, None if starts_over else ids.get(self.service))
        except Exception as error:
            if task.iteration == 0:
                raise RunError(
                    f"config.MSCN.TRACKING has {self.service}, which does not start: "
                    f"{in_one_line(str(error))}"
                ) from error
            self._give_up(error)
            return
        save_json(ids_file, ids)
        _running.append(self)

    def on_update(self, task: Task) -> None:
        """Log at VISSL's log frequency; VISSL counts the iteration up only after this hook."""
        if self in _running and task.train and is_logging_step(task):
            rate = task.optimizer.options_view.lr
            values = {
                "loss": task.last_batch.loss.item(),
                "lr": rate[0] if isinstance(rate, list) else rate,
            }
            self.attempt(self.write, values, "iteration", task.iteration)

    def on_end(self, task: Task) -> None:
        self.end("finished")

    def end(self, end: End) -> None:
        """Finish the run, if it is one."""
        self.attempt(self.finish, end)
        if self in _running:
            _running.remove(self)

    def attempt(self, action: Callable[..., None], *arguments: Any) -> None:
        """Call one of the methods that write; the first failure is the last call."""
        if self not in _running:
            return
        try:
            action(*arguments)
        except Exception as error:
            _running.remove(self)
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        logging.warning(
            f"{self.service} fails ({type(error).__name__}: {in_one_line(str(error))}); the run "
            "continues without it, and its own logs have everything"
        )


def tensorboard_writer(task: Task) -> Any | None:
    """The SummaryWriter of VISSL's TensorBoard hook on the primary rank, or None without one."""
    hooks: list[Any] = [hook for hook in task.hooks if isinstance(hook, SSLTensorboardHook)]
    return hooks[0].tb_writer if hooks and is_primary() else None


def add_scalars(
    task: Task, group: str, values: dict[str, float], step: int, axis: str = "iteration"
) -> None:
    """Write ``values`` as ``group/name`` to TensorBoard and the services of ``MSCN.TRACKING``.

    Args:
        step: the place on ``axis``, "iteration" or "epoch".
    """
    named = {f"{group}/{name}": value for name, value in values.items()}
    writer = tensorboard_writer(task)
    if writer is not None:
        for name, value in named.items():
            writer.add_scalar(name, value, step)
    for service in _services(task):
        service.attempt(service.write, named, axis, step)


def add_picture(task: Task, name: str, pixels: np.ndarray) -> None:
    """Write a picture, ``[H, W, 3]`` in uint8, likewise."""
    writer = tensorboard_writer(task)
    if writer is not None:
        writer.add_image(name, pixels, task.iteration, dataformats="HWC")
    for service in _services(task):
        service.attempt(service.write_picture, name, pixels, task.iteration)


def end_services(task: Task, end: End) -> None:
    """Mark the run with its end, where one of its hooks is about to end it."""
    for hook in _services(task):
        hook.end(end)


def _services(task: Task) -> list[TrackingHook]:
    return [hook for hook in task.hooks if isinstance(hook, TrackingHook)]


@contextlib.contextmanager
def ends_marked() -> Iterator[None]:
    """Let the services know how the run of this block ended, where that is not by ``on_end``.

    A request to end raises SystemExit, of which VISSL's trainer tells no hook.
    """
    try:
        yield
    except BaseException as error:
        asked = isinstance(error, SystemExit) and error.code in EXIT_CODES
        for hook in list(_running):
            hook.end("interrupted" if asked else "failed")
        raise


def tracking_folder(task: Task) -> Path:
    """Where the libraries keep their own files."""
    return Path(task.config.MSCN.TRACKING_DIR or task.checkpoint_folder).absolute()


def run_name(task: Task) -> str:
    """The run's name for people."""
    return str(task.config.MSCN.TRACKING_NAME or Path(task.checkpoint_folder).name)


def plain_config(task: Task) -> dict[str, Any]:
    """The configuration, of plain values alone."""
    content: dict[str, Any] = json.loads(json.dumps(task.config, default=str))
    return content


def _ids(path: Path) -> dict[str, str]:
    """The ids in the file, which may come from elsewhere: what cannot be one is left out."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    pairs = content.items() if isinstance(content, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str) and _ID.fullmatch(value)}
