"""Results of evaluations for the model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple

from mscn_plugin.errors import ConfigError


class Result(NamedTuple):
    """One number, or whatever stands in the place of one."""

    evaluation: str
    metric: str
    value: Any


def read_results(file: Path) -> List[Result]:
    """Read ``{"evaluations": {name: {"metrics": {...}}}}``; metrics may be nested.

    Raises:
        ConfigError: the file is not there, or is something else.
    """
    try:
        evaluations = json.loads(file.read_text(encoding="utf-8"))["evaluations"]
        return [
            Result(name, metric, value)
            for name, evaluation in evaluations.items()
            for metric, value in _leaves(evaluation.get("metrics", {}))
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"--results {file} is not a file of the form "
            f'{{"evaluations": {{name: {{"metrics": {{...}}}}}}}} ({error!r})'
        ) from None


def _leaves(metrics: Any, path: str = "") -> Iterator[Any]:
    if not isinstance(metrics, dict):
        yield path, metrics
        return
    for key, value in metrics.items():
        yield from _leaves(value, f"{path}.{key}" if path else key)
