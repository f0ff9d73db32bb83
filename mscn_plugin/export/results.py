"""Results of evaluations, ``results.json``: their numbers, and what these are of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mscn_plugin.errors import ConfigError
from mscn_plugin.files import file_digest

_FOLDERS = re.compile(r"(?<![\w./~-])~?/(?:[^/,;]+/)*(?=[^/,;]+/)")
"""The beginning of an absolute path, but for its last two names."""


class Result(NamedTuple):
    """One number, or whatever stands in the place of one."""

    evaluation: str
    metric: str
    value: Any


class Results(NamedTuple):
    """Numbers for the model card.

    Attributes:
        numbers: of all evaluations.
        conditions: lines on what they are of: :func:`conditions`.
    """

    numbers: list[Result]
    conditions: list[str]


def read_results(file: Path, checkpoint: Path | None = None) -> Results:
    """Read ``{"evaluations": {name: {"metrics": {...}}}}``; metrics may be nested.

    Args:
        checkpoint: whose results they are, where the file says of which they are (``sha256``).

    Returns:
        The numbers and their conditions, of folders the last two names alone: cards are published.

    Raises:
        ConfigError: the file is not there, is something else, or is of another checkpoint.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        stated, evaluations = content.get("sha256"), content["evaluations"]
        numbers = [
            Result(name, metric, value)
            for name, evaluation in evaluations.items()
            for metric, value in _leaves(evaluation.get("metrics", {}))
        ]
        # Each override by itself: a path in one would reach to a slash in the next.
        given = [_FOLDERS.sub("", override) for override in content.get("overrides", [])]
        about = conditions({**content, "overrides": []}, quote="")
        about = [_FOLDERS.sub("", line) for line in about]
        about += conditions({"overrides": given}, quote="")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"--results {file} is not a file of the form "
            f'{{"evaluations": {{name: {{"metrics": {{...}}}}}}}} ({error!r})'
        ) from None
    if checkpoint is not None and stated not in (None, file_digest(checkpoint)):
        raise ConfigError(f"--results {file} is of another checkpoint than {checkpoint}")
    return Results(numbers, about)


def conditions(results: dict[str, Any], quote: str = "`") -> list[str]:
    """What was assumed, on which images was measured, and what is not as the configs have it.

    Args:
        results: content of ``results.json``; those of earlier versions say less.
        quote: around each override.
    """
    lines = [f"Warning: {line}." for line in results.get("assumed", [])]
    lines += [
        f"Measured on{f' ({name})' if name != 'data' else ''}: {images}."
        for name, images in results.get("measured_on", {}).items()
    ]
    overrides = " ".join(f"{quote}{override}{quote}" for override in results.get("overrides", []))
    return [*lines, *([f"Not as the configs stand: {overrides}"] if overrides else [])]


def _leaves(metrics: Any, path: str = "") -> Iterator[Any]:
    if not isinstance(metrics, dict):
        yield path, metrics
        return
    for key, value in metrics.items():
        yield from _leaves(value, f"{path}.{key}" if path else key)
