"""Paths and digests of files; writing them so that they are complete or not there.

A folder may come from elsewhere: a link in it, under the name of a file that is about to be
written, must not lead the writer out of it. So every file is written under a name that cannot be
guessed, and renamed. What a kill leaves behind is removed by :func:`remove_abandoned`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

STAGING = ".staging-"
"""How the names of unfinished files and folders begin."""


def user_path(text: str) -> Path:
    """A path among a script's arguments, where shells leave a ``~`` after ``=`` as it is."""
    return Path(text).expanduser()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield the path of a new, empty file; on leaving it takes the place of ``path``, complete.

    It is in the same folder, has the same suffix, and is on the disk before it gets its name.
    Where the block raises, it is removed, and ``path`` is what it was.
    """
    path = Path(path)
    staged = path.with_name(f"{STAGING}{secrets.token_hex(8)}{path.suffix}")
    descriptor = _create(staged, path)
    try:
        _lock(descriptor)
        yield staged
        sync(staged)
        os.replace(staged, path)
        sync(path.parent)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` in UTF-8 by :func:`replacing`."""
    with replacing(path) as file:
        file.write_text(text, encoding="utf-8")


def save_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as JSON by :func:`replacing`."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def figure_file(path: Path, suffix: str) -> Path:
    """``path`` with ``suffix`` in the place of .png or .pdf, else behind its name.

    What follows another dot is a part of the name: ``sigma1.25`` and ``sigma1.5`` are two files.
    """
    if path.suffix.lower() in (".png", ".pdf"):
        return path.with_suffix(suffix)
    return path.with_name(f"{path.name}{suffix}")


def save_figure(figure: Any, path: Path, *suffixes: str, dpi: Any = 130) -> None:
    """Write a figure of Matplotlib by :func:`replacing`, once for each of ``suffixes``.

    Args:
        path: the file; with ``suffixes``, those that :func:`figure_file` makes of it.
        dpi: pixels per inch, or ``"figure"`` for the figure's own.
    """
    for name in [figure_file(path, suffix) for suffix in suffixes] or [path]:
        with replacing(name) as file:
            figure.savefig(file, dpi=dpi)
        figure.set_layout_engine("none")  # the layout of the first file is that of the others


def open_new(path: str | Path) -> IO[str]:
    """Open a new text file in the place of ``path``, for a log that is read meanwhile."""
    path = Path(path)
    path.unlink(missing_ok=True)
    return open(_create(path, path), "w", encoding="utf-8")


@contextlib.contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder inside of ``folder``, for files that appear together; it is removed."""
    staging = folder / f"{STAGING}{secrets.token_hex(8)}"
    staging.mkdir()
    descriptor = os.open(staging, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield staging
    finally:
        os.close(descriptor)
        shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let one process at a time be in such a block of a folder; others wait for its end."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def remove_abandoned(folder: Path) -> None:
    """Remove unfinished files and folders of writers that were killed, not of running ones."""
    for staged in folder.glob(f"{STAGING}*"):
        with contextlib.suppress(OSError):  # in use, or another process was first
            if staged.is_symlink():
                staged.unlink()
                continue
            descriptor = os.open(staged, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(staged) if staged.is_dir() else staged.unlink()
            finally:
                os.close(descriptor)


def sync(path: Path) -> None:
    """Let the system put a file, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(file: Path, wanted: Path) -> int:
    """The descriptor of a file that was not there, with the permissions of the umask."""
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    except OSError as error:  # of the name that the caller knows
        raise OSError(error.errno, error.strerror, str(wanted)) from None


def _lock(descriptor: int) -> None:
    # A lock ends with its process, also with one that is killed. Some file systems have none.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
