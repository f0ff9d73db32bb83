"""Checkpoints that are complete or not there, and the search for the newest complete one."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from mscn_plugin.checkpoints.io import VISSL_UNPICKLES, CheckpointError, load_checkpoint
from mscn_plugin.checkpoints.run_folder import LOGS
from mscn_plugin.errors import DISK_FULL, ConfigError, RunError
from mscn_plugin.files import staging_folder, sync
from mscn_plugin.types import Config

LINK = "checkpoint.torch"
_NAME = re.compile(r"model_(iteration|phase|final_checkpoint_phase)(\d+)\.torch")


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield a folder to write checkpoints into; on leaving they appear in ``folder``, complete.

    Each file is synced to the disk, renamed, and linked by ``checkpoint.torch``, relative so that
    the folder can be moved. A kill at any moment leaves the former checkpoint and link, or the new.

    Raises:
        RunError: the disk is full; what was there before is untouched.
    """
    try:
        with staging_folder(folder) as staging:
            yield staging
            for file in sorted(staging.glob("*.torch")):
                if not file.is_symlink():
                    sync(file)
                    os.replace(file, folder / file.name)
                    _link(folder, file.name, staging)
    except (OSError, RuntimeError) as error:  # PyTorch's writer raises RuntimeError
        reason = error if isinstance(error, OSError) else error.__context__
        if isinstance(reason, OSError) and reason.errno in DISK_FULL:
            raise RunError(
                f"config.CHECKPOINT.DIR is {str(folder)!r}, where a checkpoint could not be "
                f"written ({os.strerror(reason.errno)}): make room, and start the same command "
                "again to resume from the last one"
            ) from error
        raise


def set_aside(folder: Path, final_alone: bool = False) -> None:
    """Move the checkpoints of an earlier run into ``replaced-<n>``, so that a new one can start.

    Args:
        final_alone: leave those from which the run resumes. It continues the logs, of which
            copies, with what belongs to the final one, are moved.
    """
    pattern = "model_final*.torch" if final_alone else "model_*.torch"
    old = list(folder.glob(pattern))
    if not old:
        return
    if not final_alone:
        old += [*folder.glob("*.json"), *folder.glob(LINK)]
    logs = [folder / name for name in LOGS if final_alone and (folder / name).is_file()]
    target = move_aside(folder, old, logs)
    logging.warning(f"starting over: {len(old)} files of the previous run are in {target}")


def move_aside(folder: Path, files: Iterable[Path], copied: Iterable[Path] = ()) -> Path:
    """Move ``files`` into the first ``replaced-<n>`` of ``folder`` that is not there yet.

    Args:
        copied: files of which copies are put there first.
    """
    number = next(n for n in itertools.count(1) if not (folder / f"replaced-{n}").exists())
    target = folder / f"replaced-{number}"
    target.mkdir()
    for path in copied:
        shutil.copy(path, target)
    for path in files:
        path.rename(target / path.name)
    return target


def _link(folder: Path, name: str, staging: Path) -> None:
    link = staging / LINK
    link.unlink(missing_ok=True)  # VISSL's, which names the staging folder
    link.symlink_to(name)
    os.replace(link, folder / LINK)
    sync(folder)


def load_complete(path: Path) -> dict[str, Any]:
    """Load a checkpoint of ``mscn_task`` after checking that nothing in it is damaged.

    Raises:
        CheckpointError: it is truncated, a bit has flipped, or a value is not finite.
    """
    checkpoint = load_checkpoint(path, trusted=VISSL_UNPICKLES, checksums=True)
    if not isinstance(checkpoint.get("iteration"), int):
        raise CheckpointError(
            f"{path} has no iteration; it must be a checkpoint of VISSL's trainer"
        )
    for name, tensor in named_tensors(checkpoint):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path} has values in {name} that are not finite")
    return checkpoint


def newest_checkpoint(folder: Path, nth: int = 1, skip_final: bool = False) -> Path | None:
    """The newest complete checkpoint of a run by its iteration; skips damaged ones with a warning.

    Args:
        nth: take the nth newest, or the oldest if there are fewer (VISSL's
            ``LATEST_CHECKPOINT_RESUME_FILE_NUM``).
        skip_final: skip the one of the run's end.
    """
    nth = max(1, nth)
    numbered = [(_NAME.fullmatch(path.name), path) for path in folder.glob("model_*.torch")]
    complete: list[tuple[int, bool, Path]] = []
    for kind in ("iteration", "phase", "final_checkpoint_phase"):
        of_kind = [(int(m[2]), path) for m, path in numbered if m and m[1] == kind]
        if skip_final and kind.startswith("final"):
            continue
        found: list[tuple[int, bool, Path]] = []
        for _, path in sorted(of_kind, reverse=True):
            try:
                # At the same iteration that of the finished epoch is further.
                found.append((load_complete(path)["iteration"], kind != "iteration", path))
            except CheckpointError as error:
                logging.warning(f"skipping a damaged checkpoint: {error}")
            if len(found) == nth:
                break
        complete += found
    complete.sort(reverse=True)
    return complete[:nth][-1][-1] if complete else None


def checkpoint_to_resume(settings: Config, folder: Path) -> Path | None:
    """The checkpoint in ``folder`` from which a run resumes by ``config.CHECKPOINT``, if any."""
    if not settings.AUTO_RESUME:
        return None
    nth = settings.LATEST_CHECKPOINT_RESUME_FILE_NUM
    return newest_checkpoint(folder, nth, skip_final=settings.OVERWRITE_EXISTING)


def refuse_links(folder: Path, staged: bool) -> None:
    """Refuse a run's folder in which a file is a link through which VISSL would write.

    Args:
        staged: whether the run's checkpoints are put in place by :func:`staged`.

    Raises:
        ConfigError: names the first such link.
    """
    names = ["*.json", "*.txt", "*.yaml", "*.npy", *([] if staged else ["model_*.torch"])]
    for path in sorted(path for name in names for path in folder.glob(name)):
        if path.is_symlink():
            raise ConfigError(
                f"config.CHECKPOINT.DIR is {str(folder)!r}, where {path.name} is a link to "
                f"{os.readlink(path)!r}, which would be written: remove the link"
            )


def refuse_damaged(settings: Config, folder: Path) -> None:
    """Refuse to start over where there are checkpoints, but none that a run could resume from.

    Args:
        settings: ``config.CHECKPOINT``.
        folder: of the run.

    Raises:
        ConfigError: states what is wrong with one of them. Nothing was changed.
    """
    if not settings.AUTO_RESUME:
        return
    files = [path for path in sorted(folder.glob("model_*.torch")) if _NAME.fullmatch(path.name)]
    if settings.OVERWRITE_EXISTING:
        files = [path for path in files if not is_final(path)]
    reason = ""
    for path in files:
        try:
            load_complete(path)
            return
        except CheckpointError as error:
            reason = str(error)
    if files:
        raise ConfigError(
            f"config.CHECKPOINT.DIR is {str(folder)!r}, where none of the checkpoints is complete "
            f"({len(files)} in all; {reason}): nothing was changed; put a copy of one there, set "
            "another folder, or config.CHECKPOINT.AUTO_RESUME=False "
            "config.CHECKPOINT.OVERWRITE_EXISTING=True to start over in this one"
        )


def is_final(path: Path) -> bool:
    """Whether a checkpoint is that of a run's last epoch, by VISSL's naming."""
    return path.name.startswith("model_final")


def is_within_epoch(path: Path) -> bool:
    """Whether a checkpoint was written after a step, not after an epoch, by VISSL's naming."""
    return path.name.startswith("model_iteration")


def named_tensors(content: object, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors of a checkpoint with their places in it, ``model.trunk.weight``."""
    if isinstance(content, torch.Tensor):
        yield name, content
    elif isinstance(content, (dict, list, tuple)):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in items:
            yield from named_tensors(value, f"{name}.{key}" if name else str(key))
