"""Errors that a user can act on, and how they are printed. Imports nothing of this package."""

from __future__ import annotations

import difflib
import errno
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The system's errors where a file cannot grow."""


LIST_ITEM = "\n- "
"""How each item of a message that is a list begins; all other messages are printed in one line."""


class ConfigError(ValueError):
    """A configuration that cannot run; the message has the key, its value and what is allowed.

    Raised in the launching process, before workers start and before anything is written.
    """


class RunError(Exception):
    """A run that cannot continue; the message has what happened, what is kept and what to do."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Suggest what a misspelled ``name`` may have meant: the nearest of ``known``, or all."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"


def check_known(path: str, keys: Iterable[str], known: Iterable[str], of: str) -> None:
    """Raise ConfigError at the first of ``keys``, at ``path``, that is none that ``of`` knows."""
    known = list(known)
    for key in keys:
        if key not in known:
            raise ConfigError(f"{path}.{key} is not a key of {of}; {suggestion(key, known)}")


def first_few(values: Sequence[object], most: int) -> str:
    """The first ``most`` of ``values``, and how many more there are."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + more


def with_path(path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``function``; its ValueErrors start with a key, to which ``path`` leads.

    Raises:
        ConfigError: in the place of a ValueError.
    """
    try:
        return function(*args, **kwargs)
    except ValueError as error:
        raise ConfigError(f"{path}.{error}") from None


def message_of(error: BaseException) -> str | None:
    """The message of an error that a user can act on, in one line, or None for all others."""
    text = str(error)
    # A rank or a loader's worker hands over the whole traceback that it died with.
    inner = re.findall(r"^mscn_plugin\.errors\.(?:RunError|ConfigError): (.*)$", text, re.M)
    if inner:
        return inner[-1]
    if isinstance(error, (ConfigError, RunError)):
        return text if LIST_ITEM in text else in_one_line(text)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f"{error}: make room, and the same command resumes from the last checkpoint"
    return None


def in_one_line(text: str) -> str:
    """``text`` with a semicolon for each end of a line."""
    return "; ".join(filter(None, (line.strip() for line in text.splitlines())))


def print_errors_plainly(
    message: Callable[[BaseException], str | None] = message_of,
) -> None:
    """Let uncaught errors end the process with their ``message``, without a traceback.

    Args:
        message: of an error, or None where it is to have its traceback. The last one given holds.
    """
    global _message, _previous_excepthook
    _message = message
    if sys.excepthook is not _excepthook:
        _previous_excepthook = sys.excepthook
        sys.excepthook = _excepthook


_message = message_of
_previous_excepthook = sys.excepthook


def _excepthook(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    message = _message(error)
    if message is None:
        _previous_excepthook(kind, error, traceback)
    else:
        print(f"mscn-plugin: {message}", file=sys.stderr)
