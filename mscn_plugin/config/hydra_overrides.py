"""Overrides as Hydra's command line takes them, whatever characters a value has."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mscn_plugin.errors import ConfigError

_UNQUOTED = re.compile(
    r"(?!(?:true|false|null|nan|inf)\Z)[a-z_/][\w/.-]*", re.ASCII | re.IGNORECASE
)

PATH_KEYS = (
    *("CHECKPOINT.DIR", "MODEL.WEIGHTS_INIT.PARAMS_FILE", "SLURM.LOG_FOLDER"),
    *("MSCN.DATA", "MSCN.STATISTICS", "MSCN.TRAIN_SUBSET", "MSCN.TRACKING_DIR"),
    *("EXTRACT_FEATURES.OUTPUT_DIR",),
    *("HOOKS.TENSORBOARD_SETUP.LOG_DIR", "PROFILING.OUTPUT_FOLDER"),
    *(f"DATA.{split}.{key}_PATHS" for split in ("TRAIN", "TEST") for key in ("DATA", "LABEL")),
)
"""Keys below ``config`` that hold a path, or a list of paths."""
_RESOLVED_BY_READERS = ("MODEL.TRUNK.TIMM.WEIGHTS", "MSCN.BOXES")
"""Keys of files whose readers expand the path."""


def hydra_override(key: str, value: Any) -> str:
    """``key=value`` as Hydra's command line takes it, whatever characters ``value`` has.

    Args:
        key: with its prefix, if any (``+``).
        value: text or a path, a number, True or False, None, or lists and dictionaries of these,
            the latter with names for keys.
    """
    return f"{key}={_in_hydra(value)}"


def full_override(text: str) -> str:
    """An override with the ``config.`` or ``config/`` in front that the user may leave out.

    Below ``config`` VISSL's keys begin with a capital, and overlays of ours with ``mscn/``.
    """
    text = re.sub(r"^(\+{0,2}|~)(?=[A-Z])", r"\1config.", text)
    return re.sub(r"^(\+{0,2})(?=mscn/)", r"\1config/", text)


def slurm_overrides(partition: str | None) -> tuple[str, ...]:
    """Overrides that send a run to a partition of SLURM; none to run it here."""
    if partition is None:
        return ()
    return "config.SLURM.USE_SLURM=true", hydra_override("config.SLURM.PARTITION", partition)


def _in_hydra(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_in_hydra(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_in_hydra, value)) + "]"
    if value is None or isinstance(value, (bool, int, float)):
        return "null" if value is None else str(value)
    text = str(value)
    if _UNQUOTED.fullmatch(text):
        return text
    from hydra.core.override_parser.types import Quote, QuotedString

    quote = Quote.single if "'" not in text or '"' in text else Quote.double
    return QuotedString(text, quote).with_quotes()


def values_of(overrides: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Key and value of each override; those that Hydra will refuse are skipped."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException:
            continue
        yield override.key_or_group, override.value()


def refuse_given(overrides: Iterable[str], given_by: Mapping[str, str]) -> None:
    """Raise ConfigError if an override gives a key of ``given_by``, which an argument gives."""
    for key, value in values_of(overrides):
        if key in given_by:
            raise ConfigError(f"--overrides {key}={value}: it is given by {given_by[key]}")


def named_files(overrides: Iterable[str]) -> list[Path]:
    """The files that overrides name, by themselves or in lists, seen from the working directory.

    A name without a suffix and without a folder is taken for a word, but for keys of paths.
    """
    found, keys = list(values_of(overrides)), (*PATH_KEYS, *_RESOLVED_BY_READERS)
    files = []
    for key, value in found:  # grows
        if isinstance(value, dict):
            found += [(f"{key}.{name}", item) for name, item in value.items()]
        elif isinstance(value, list):
            found += [(key, item) for item in value]
        elif isinstance(value, str) and (
            os.sep in value or Path(value).suffix or key.removeprefix("config.") in keys
        ):
            with contextlib.suppress(OSError, RuntimeError, ValueError):  # it can be no path
                if Path(value).expanduser().is_file():
                    files.append(Path(value).expanduser())
    return files


def line_to_type(key: str, value: Any) -> str:
    """The argument that gives ``key`` the text ``value``, quoted for Hydra and for the shell."""
    text = str(value)
    plain = not re.search(r"[\"\\]", text)  # the shell's quotes around Hydra's are easy to read
    return shlex.quote(f'{key}="{text}"' if plain else hydra_override(key, text))


def is_overridden(key: str) -> bool:
    """Whether the command line gives a value to ``config.<key>``, or to an entry of its list."""
    name = re.compile(rf"\+{{0,2}}config\.{re.escape(key)}(\.\d+)?=")
    return any(map(name.match, sys.argv[1:]))


def overridden_in(section: str) -> list[str]:
    """The keys of ``config.<section>``, and it itself, to which the command line gives a value."""
    name = re.compile(rf"\+{{0,2}}(config\.{re.escape(section)}(\.[\w.]+)?)=")
    return [found[1] for found in map(name.match, sys.argv[1:]) if found]
