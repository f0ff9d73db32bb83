"""VISSL's launcher, with registration, exact resume and signals, in every process that it starts.

Spawned ranks and SLURM jobs begin with an empty registry. VISSL's launcher looks its worker
function, its job class and the steps around them up by name in its own module; ours take their
place there. Worker and job are pickled by reference, so that the child imports this module.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from torch.multiprocessing import ProcessExitedException
from vissl.utils import distributed_launcher

import mscn_plugin
from mscn_plugin.checkpoints.complete import (
    checkpoint_to_resume,
    is_final,
    load_complete,
    newest_checkpoint,
    refuse_damaged,
    set_aside,
)
from mscn_plugin.checkpoints.fingerprint import another_recipe, note_recipe, noted_recipe
from mscn_plugin.checkpoints.run_folder import (
    cut_logs,
    evaluated_epochs,
    json_lines,
    mend_logs,
)
from mscn_plugin.config.checks.evaluation import evaluates_online
from mscn_plugin.config.checks.mscn import uses_mscn
from mscn_plugin.data.parallel import die_with_parent
from mscn_plugin.files import remove_abandoned
from mscn_plugin.runs import lock
from mscn_plugin.schema import is_pretraining
from mscn_plugin.training.hooks.tracking import ends_marked
from mscn_plugin.training.ranks import is_first_rank
from mscn_plugin.training.signals import EXIT_CODES, exit_code, interruption
from mscn_plugin.types import Config
from mscn_plugin.vissl.config_hook import check_images_again
from mscn_plugin.vissl.error_messages import message_of

_HOOKED = (
    "_distributed_worker",
    "_ResumableSlurmJob",
    "is_training_finished",
    "get_resume_checkpoint",
    "_cleanup_local_dir",
)
_vissl = {name: getattr(distributed_launcher, name) for name in _HOOKED}


def distributed_worker(local_rank: int, cfg: Config, *args: Any, **kwargs: Any) -> None:
    """VISSL's worker of one rank, with MSCN registered. The launcher passes ``local_rank``."""
    if uses_mscn(cfg):
        interruption.listen()
        die_with_parent()
    mscn_plugin.register()
    with ends_marked():
        _vissl["_distributed_worker"](local_rank, cfg, *args, **kwargs)


class ResumableSlurmJob(distributed_launcher._ResumableSlurmJob):
    """VISSL's SLURM job, with MSCN registered in the job and in its requeued successors."""

    config: Config

    def __init__(self, engine_name: str, config: Config, submitted: float | None = None) -> None:
        super().__init__(engine_name=engine_name, config=config)
        self.requeued = submitted is not None
        self.submitted = time.time() if submitted is None else submitted

    def __call__(self) -> None:
        mscn_plugin.register()
        if self.requeued or int(os.environ.get("SLURM_RESTART_COUNT", "0")):
            self.config = requeued_config(self.config, self.submitted)
        check_images_again(self.config)
        # Training writes to its configuration; a requeued job begins with what was submitted.
        _vissl["_ResumableSlurmJob"](self.engine_name, copy.deepcopy(self.config))()

    def checkpoint(self) -> Any:
        import submitit

        job = ResumableSlurmJob(
            engine_name=self.engine_name, config=self.config, submitted=self.submitted
        )
        return submitit.helpers.DelayedSubmission(job)


def requeued_config(cfg: Config, submitted: float) -> Config:
    """The configuration of a requeued job: one that was to start over resumes what it has done.

    Args:
        submitted: when the job was, in seconds of Unix time; checkpoints before it are others'.
    """
    own = uses_mscn(cfg) and any(
        file.stat().st_mtime >= submitted for file in Path(cfg.CHECKPOINT.DIR).glob("model_*.torch")
    )
    if own:
        cfg = copy.deepcopy(cfg)
        cfg.CHECKPOINT.AUTO_RESUME, cfg.CHECKPOINT.OVERWRITE_EXISTING = True, False
    return cfg


def is_training_finished(cfg: Config, checkpoint_folder: str) -> bool | None:
    """VISSL's first step in a run's folder: from here on it is locked, and signals are heeded.

    Raises:
        ConfigError: another run is using it.
    """
    if not uses_mscn(cfg):
        return _vissl["is_training_finished"](cfg, checkpoint_folder)
    interruption.listen()
    interruption.afterwards = (
        "the same command resumes"
        if cfg.CHECKPOINT.AUTO_RESUME or cfg.SLURM.USE_SLURM
        else "with config.CHECKPOINT.AUTO_RESUME=True the same command resumes"
    )
    if is_first_rank():
        lock.acquire(checkpoint_folder)
    finished = nothing_left(cfg, checkpoint_folder)
    if finished:
        lock.release(checkpoint_folder)
        interruption.stop_listening()
    return finished


def nothing_left(cfg: Config, checkpoint_folder: str) -> bool | None:
    """Whether a run has nothing left to do: a damaged last checkpoint does not count.

    Nor does a complete one where the evaluation that follows it is missing, VISSL's test phase or
    the online evaluation, which a run that has it begins with.
    """
    if not uses_mscn(cfg):
        return _vissl["is_training_finished"](cfg, checkpoint_folder)
    folder = Path(checkpoint_folder)
    remove_abandoned(folder)
    if is_first_rank():
        mend_logs(folder)
        if cfg.CHECKPOINT.OVERWRITE_EXISTING:
            set_aside(folder, final_alone=cfg.CHECKPOINT.AUTO_RESUME)
    # The first process may not have moved them yet.
    newest = newest_checkpoint(folder, skip_final=cfg.CHECKPOINT.OVERWRITE_EXISTING)
    if newest is None or not is_final(newest):
        return False
    if cfg.MSCN.RESUME_CHANGED and another_recipe(cfg, newest) is not None:
        return False
    lines, last = json_lines(folder / "metrics.json"), cfg.OPTIMIZER.num_epochs - 1
    tested = any(
        line.get("train_phase_idx") == last and any(key.startswith("test_") for key in line)
        for line in lines
    )
    evaluated = evaluated_epochs(lines)
    if evaluates_online(cfg) and -1 in evaluated and last not in evaluated:
        return False
    return tested or not cfg.TEST_MODEL


def get_resume_checkpoint(cfg: Config, checkpoint_folder: str) -> str | None:
    """The newest complete checkpoint, of an epoch or of an iteration; notes the run's recipe.

    Raises:
        ConfigError: there are checkpoints, and all of them are damaged.
    """
    if not uses_mscn(cfg):
        return _vissl["get_resume_checkpoint"](cfg, checkpoint_folder)
    settings, folder = cfg.CHECKPOINT, Path(checkpoint_folder)
    newest, is_first = checkpoint_to_resume(settings, folder), is_first_rank()
    if newest is None:
        refuse_damaged(settings, folder)
    if is_first and (settings.AUTO_RESUME or settings.OVERWRITE_EXISTING):
        # Evaluations of frozen features have no checkpoints, and results of iteration 0.
        start = -1 if is_pretraining(cfg) else 0
        cut_logs(folder, load_complete(newest)["iteration"] if newest else start)
    # VISSL reads PARAMS_FILE only at a start: for a resumed run the noted content counts.
    if is_first and (newest is None or cfg.MSCN.RESUME_CHANGED or not noted_recipe(folder)):
        note_recipe(cfg)
    if newest is None:
        return None
    logging.info(f"Resume from file: {newest}")
    return str(newest)


def cleanup_local_dir(cfg: Config) -> None:
    """VISSL's first step after the ranks, also after they failed.

    Raises:
        SystemExit: they ended on request, and submitit, if it is there, has requeued the job; or by
            an error message, which is printed: PyTorch would put its traceback around it.
    """
    _vissl["_cleanup_local_dir"](cfg)
    if not uses_mscn(cfg):
        return
    lock.release(cfg.CHECKPOINT.DIR)
    error = sys.exc_info()[1]
    code = error.code if isinstance(error, SystemExit) else None
    if isinstance(error, ProcessExitedException) and error.exit_code in EXIT_CODES:
        code = error.exit_code
    elif code is None and error is not None and interruption.signum is not None:
        # Ranks and workers end in various ways where a signal reaches them during their imports.
        logging.warning(f"ended on request, in the middle of an error: {error!r}")
        code = exit_code(interruption.signum)
    if code is not None:
        interruption.requeue()
        raise SystemExit(code)
    interruption.stop_listening()
    message = None if error is None else message_of(error)
    if message is not None:
        print(f"mscn-plugin: {message}", file=sys.stderr, flush=True)
        raise SystemExit(1) from error


def install() -> None:
    """Put ours into VISSL's launcher."""
    ours: tuple[Any, ...] = (
        distributed_worker,
        ResumableSlurmJob,
        is_training_finished,
        get_resume_checkpoint,
        cleanup_local_dir,
    )
    for name, part in zip(_HOOKED, ours):
        setattr(distributed_launcher, name, part)
