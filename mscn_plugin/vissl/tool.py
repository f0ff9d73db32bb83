"""VISSL's launching tool in this process, with its log in the run's folder."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from vissl.config import AttrDict

from mscn_plugin.config.checks.machine import refuse_without_slurm
from mscn_plugin.config.hydra_overrides import hydra_override
from mscn_plugin.errors import ConfigError
from mscn_plugin.runs.launch import tool
from mscn_plugin.training.ranks import is_first_rank
from mscn_plugin.training.signals import heeded_by_run

LOG = "console.txt"
"""In a run's folder: what VISSL prints."""


def launch(overrides: Sequence[str], verbose: bool = False, title: str = "Training") -> AttrDict:
    """Do what VISSL's tool does with these arguments, in the steps of its ``hydra_main``.

    Args:
        verbose: print what VISSL prints, in place of appending it to :data:`LOG`.
        title: of the line that announces it.

    Returns:
        The ``config`` part of the configuration.

    Raises:
        SystemExit: as in VISSL's tool.
        ConfigError: SLURM rejects the job, or is not there.
        Exception: what Hydra and the checks raise; nothing was written.
    """
    overrides = [*overrides, *_as_rank_of_torchrun()]
    sys.argv = [tool(), *overrides]  # read by checks, quoted by messages, handed on to ranks
    from vissl.hooks import default_hook_generator
    from vissl.utils.distributed_launcher import launch_distributed, launch_distributed_on_slurm
    from vissl.utils.hydra_config import compose_hydra_configuration, convert_to_attrdict

    with heeded_by_run():
        said = io.StringIO()
        with contextlib.redirect_stdout(sys.stdout if verbose else said):
            composed = compose_hydra_configuration(overrides)
            if composed.config.SLURM.USE_SLURM:  # VISSL's own configs are not checked
                refuse_without_slurm()
            args, config = convert_to_attrdict(composed)
        log = Path(config.CHECKPOINT.DIR) / LOG
        slurm = config.SLURM
        if not verbose and not slurm.USE_SLURM and is_first_rank(args.node_id):
            print(f"{title}; what VISSL prints goes to {shown(log)}", flush=True)
        job = None
        with contextlib.nullcontext() if verbose else stdout_in(log):
            print(said.getvalue(), end="")
            if slurm.USE_SLURM:
                with _refusal_in_one_line(config.SLURM.PARTITION):
                    job = launch_distributed_on_slurm(engine_name=args.engine_name, cfg=config)
            else:
                launch_distributed(
                    cfg=config,
                    node_id=args.node_id,
                    engine_name=args.engine_name,
                    hook_generator=default_hook_generator,
                )
                # VISSL's logger keeps writing to the terminal as long as the process runs.
                logging.root.setLevel(logging.WARNING)
        if job is not None and not verbose:
            print(f"SUBMITTED: {job.job_id}")
            of_job = shown(Path(slurm.LOG_FOLDER) / f"{job.job_id}_0_log.out")
            print(f"its log: {of_job}; squeue -j {job.job_id}; scancel {job.job_id}")
    return config


@contextlib.contextmanager
def _refusal_in_one_line(partition: str) -> Iterator[None]:
    """Raise ConfigError where ``sbatch`` or submitit rejects the job, with its reason."""
    from submitit.core.utils import FailedJobError

    try:
        yield
    except (FailedJobError, ValueError) as error:
        lines = str(error).strip().removeprefix("sbatch: error: ").splitlines()
        reason = lines[0] if lines else "no reason given"
        raise ConfigError(
            f"config.SLURM.PARTITION is {partition!r}, and SLURM rejects the job: {reason}"
        ) from None


def shown(file: Path) -> Path:
    """The path, relative to the working directory where it is below that."""
    here = Path.cwd()
    return file.relative_to(here) if here in file.parents else file


def _as_rank_of_torchrun() -> list[str]:
    """Overrides that make of a process of ``torchrun`` one of VISSL's nodes, with one rank.

    VISSL starts the ranks of a node itself, and takes ``INIT_METHOD`` ``env`` for one node alone.
    ``tcp``, too, leads to the store that ``torchrun`` has opened.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return []
    env = os.environ
    env.pop("SLURM_STEP_NODELIST", None)  # by which VISSL would take SLURM's number of the node
    devices = env.get("CUDA_VISIBLE_DEVICES")
    local = int(env["LOCAL_RANK"])
    env["CUDA_VISIBLE_DEVICES"] = devices.split(",")[local] if devices else str(local)
    return [
        f"node_id={env['RANK']}",
        f"config.DISTRIBUTED.NUM_NODES={env['WORLD_SIZE']}",
        "config.DISTRIBUTED.NUM_PROC_PER_NODE=1",
        "config.DISTRIBUTED.INIT_METHOD=tcp",
        hydra_override("config.DISTRIBUTED.RUN_ID", f"{env['MASTER_ADDR']}:{env['MASTER_PORT']}"),
    ]


@contextlib.contextmanager
def stdout_in(file: Path) -> Iterator[None]:
    """Append to ``file`` what this process prints, and the processes that it starts.

    Raises:
        OSError: the file is a link, or cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    descriptor, terminal = os.open(file, flags, 0o666), os.dup(1)
    sys.stdout.flush()
    os.dup2(descriptor, 1)
    os.close(descriptor)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(terminal, 1)
        os.close(terminal)
