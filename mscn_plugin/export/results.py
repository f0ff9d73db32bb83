"""Results of evaluations for the model card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mscn_plugin.checkpoints.run_folder import file_digest
from mscn_plugin.errors import ConfigError


class Result(NamedTuple):
    """One number, or whatever stands in the place of one."""

    evaluation: str
    metric: str
    value: Any


def read_results(file: Path, checkpoint: Path | None = None) -> list[Result]:
    """Read ``{"evaluations": {name: {"metrics": {...}}}}``; metrics may be nested.

    Args:
        checkpoint: whose results they are, where the file says of which they are (``sha256``).

    Raises:
        ConfigError: the file is not there, is something else, or is of another checkpoint.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        stated, evaluations = content.get("sha256"), content["evaluations"]
        results = [
            Result(name, metric, value)
            for name, evaluation in evaluations.items()
            for metric, value in _leaves(evaluation.get("metrics", {}))
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"--results {file} is not a file of the form "
            f'{{"evaluations": {{name: {{"metrics": {{...}}}}}}}} ({error!r})'
        ) from None
    if checkpoint is not None and stated not in (None, file_digest(checkpoint)):
        raise ConfigError(f"--results {file} is of another checkpoint than {checkpoint}")
    return results


def _leaves(metrics: Any, path: str = "") -> Iterator[Any]:
    if not isinstance(metrics, dict):
        yield path, metrics
        return
    for key, value in metrics.items():
        yield from _leaves(value, f"{path}.{key}" if path else key)
