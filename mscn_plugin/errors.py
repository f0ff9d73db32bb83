"""The error for configurations that cannot run."""

from __future__ import annotations

import difflib
import sys
from types import TracebackType
from typing import Iterable, Optional, Type


class ConfigError(ValueError):
    """A configuration that cannot run: one sentence with the key, its value and what is allowed.

    Raised in the launching process, before workers start and before anything is written.
    """


def suggestion(name: str, known: Iterable[str]) -> str:
    """Say what a misspelt ``name`` may have meant: the nearest of ``known``, or all of them."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"


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
    from_hydra = kind.__module__.partition(".")[0] in ("hydra", "omegaconf")
    if isinstance(error, ConfigError) or from_hydra:
        lines = (line.strip() for line in str(error).splitlines())
        print(f"mscn-plugin: {'; '.join(filter(None, lines))}", file=sys.stderr)
    else:
        _previous_excepthook(kind, error, traceback)
