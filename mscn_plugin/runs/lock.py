"""One run at a time in a folder.

The lock is the kernel's, on a byte of ``run.lock`` (POSIX, which NFS hands on to its server): it is
gone as soon as its process is, however that ended and on whichever host, so that none is ever
stale. The file's content is for the message alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

from mscn_plugin.errors import ConfigError

FILE = "run.lock"
_REQUEUE_SECONDS = 120.0
"""For which a requeued SLURM job waits for its own former process, whose node may be dying."""
_held: dict[Path, int] = {}  # descriptors, by folder; closing any other of the file would unlock it


def acquire(folder: str | Path, name: str = "config.CHECKPOINT.DIR") -> None:
    """Lock a run's folder until :func:`release`, or until this process ends.

    Args:
        name: of the setting that names the folder.

    Raises:
        ConfigError: another run has it; names its process and host. Or the file is a link.
    """
    folder = Path(folder).resolve()
    if folder in _held:
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ConfigError(
            f"{folder / FILE} is a link, which a run does not write through"
        ) from None
    end = time.monotonic() + _REQUEUE_SECONDS
    while not _lock(descriptor, folder):
        holder = _holder(folder)
        job = os.environ.get("SLURM_JOB_ID")
        if job is None or holder.get("slurm_job") != job or time.monotonic() > end:
            os.close(descriptor)
            raise _in_use(folder, holder, name)
        time.sleep(1)
    me: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname()}
    me["slurm_job"] = os.environ.get("SLURM_JOB_ID")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(me).encode(), 0)
    _held[folder] = descriptor


def release(folder: str | Path) -> None:
    """Unlock a folder; the file stays, for those that wait for it at this moment."""
    descriptor = _held.pop(Path(folder).resolve(), None)
    if descriptor is not None:
        os.close(descriptor)


def refuse_if_held(folder: str | Path) -> None:
    """Write nothing, and raise ConfigError where another process has the lock of ``folder``."""
    folder = Path(folder).resolve()
    if folder in _held:
        return
    with contextlib.suppress(OSError):  # no such file, or not writable: reported elsewhere
        descriptor = os.open(folder / FILE, os.O_RDWR | os.O_NOFOLLOW)
        try:
            free = _lock(descriptor, folder)
        finally:
            os.close(descriptor)
        if not free:
            raise _in_use(folder, _holder(folder))


def _lock(descriptor: int, folder: Path) -> bool:
    """Whether the lock is ours now, or the file system has none."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        logging.warning(f"{folder}: no lock, so nothing keeps a second run away ({error})")
    return True


def _holder(folder: Path) -> dict[str, Any]:
    try:
        holder = json.loads((folder / FILE).read_text())
        return holder if isinstance(holder, dict) else {}
    except (OSError, ValueError):
        return {}  # it is about to write it


def _in_use(
    folder: Path, holder: dict[str, Any], name: str = "config.CHECKPOINT.DIR"
) -> ConfigError:
    job = f", SLURM job {holder['slurm_job']}" if holder.get("slurm_job") else ""
    return ConfigError(
        f"{name} is {str(folder)!r}, which is in use by another run (process "
        f"{holder.get('pid', 'unknown')} on {holder.get('host', 'an unknown host')}{job}): wait "
        "for it, stop it, or choose another folder"
    )
