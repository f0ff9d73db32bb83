"""The error for configurations that cannot run."""

from __future__ import annotations

import difflib
import errno
import inspect
import re
import sys
from types import TracebackType
from typing import Any, Callable, Dict, Iterable, Optional, Type

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where a file cannot grow."""


class ConfigError(ValueError):
    """A configuration that cannot run: one sentence with the key, its value and what is allowed.

    Raised in the launching process, before workers start and before anything is written.
    """


class RunError(Exception):
    """A run that cannot go on: one sentence with what was seen, what is kept and what to do."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Say what a misspelt ``name`` may have meant: the nearest of ``known``, or all of them."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"


def build_part(
    path: str, part: Callable[..., Any], settings: Dict[str, Any], allowed: Any = None
) -> Any:
    """Build ``part`` from ``settings``, the section of a configuration that ``path`` names.

    Args:
        allowed: the keys of the section; by default the arguments of ``part``.

    Raises:
        ConfigError: an unknown key, or what :func:`with_path` raises.
    """
    known = allowed or tuple(inspect.signature(part).parameters)
    for key in settings:
        if key not in known:
            name = part.__name__
            raise ConfigError(f"{path}.{key} is not a key of {name}; {suggestion(key, known)}")
    return with_path(path, part, **settings)


def with_path(path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``function``; its ValueErrors start with a key, to which ``path`` leads.

    Raises:
        ConfigError: in the place of a ValueError.
    """
    try:
        return function(*args, **kwargs)
    except ValueError as error:
        raise ConfigError(f"{path}.{error}") from None


def print_config_errors_plainly() -> None:
    """Let an uncaught :class:`ConfigError` end the process with its sentence, no traceback.

    The same holds for what Hydra says of overrides and configurations that it does not know.
    """
    if sys.excepthook is not _excepthook:
        global _previous_excepthook
        _previous_excepthook = sys.excepthook
        sys.excepthook = _excepthook


_previous_excepthook = sys.excepthook


def _excepthook(
    kind: Type[BaseException], error: BaseException, traceback: Optional[TracebackType]
) -> None:
    sentence = sentence_of(error)
    if sentence is None:
        _previous_excepthook(kind, error, traceback)
    else:
        print(f"mscn-plugin: {sentence}", file=sys.stderr)


def sentence_of(error: BaseException) -> Optional[str]:
    """What is to be said of an error that a user can act on, or None for all others."""
    text = str(error)
    # A rank or a loader's worker hands over the whole traceback that it died with.
    inner = re.findall(r"^mscn_plugin\.errors\.(?:RunError|ConfigError): (.*)$", text, re.M)
    if inner:
        return inner[-1]
    from_hydra = type(error).__module__.partition(".")[0] in ("hydra", "omegaconf")
    if isinstance(error, (ConfigError, RunError)) or from_hydra:
        return _of_hydra(error) if from_hydra else _in_one_line(text)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f"{error}: make room, and the same command goes on from the last checkpoint"
    return None


def _in_one_line(text: str) -> str:
    return "; ".join(filter(None, (line.strip() for line in text.splitlines())))


def _of_hydra(error: BaseException) -> str:
    """What Hydra says, and what it leaves the user to find out."""
    from mscn_plugin.integration import command_line

    text = str(error)
    of_pages = command_line.about_pages(text)
    if of_pages is not None:
        return of_pages
    unknown = re.search(r"Could not override '(config\.[\w.]+)'", text)
    if unknown and "vissl" in sys.modules:
        from mscn_plugin.integration.vissl_checks import meant_by

        entry = re.fullmatch(r"(.*(?:TRANSFORMS|PARAMS))\.\d+", unknown[1])
        if entry:
            whole = f"no entry of a list can: give the whole list, {entry[1]}=[...]"
            return f"{_in_one_line(text)}; {whole}"
        return _in_one_line(text) + meant_by(unknown[1])
    sweep = re.search(r"Ambiguous value for argument '(.*)'", text)
    override = getattr(error, "override", None) or (sweep[1] if sweep else "")
    return command_line.about_grammar(override, sys.argv) or _in_one_line(text)
