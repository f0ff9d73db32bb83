"""The most important settings of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from mscn_plugin.evaluation.pretraining_run import PretrainingRun
from mscn_plugin.models.sections import sections_of
from mscn_plugin.types import value_at


class Setting(NamedTuple):
    """A row of the table: what it is, its key below ``config`` and its value in words."""

    title: str
    key: str
    value: str


_BATCH = (
    "DATA.TRAIN.BATCHSIZE_PER_REPLICA",
    "DISTRIBUTED.NUM_PROC_PER_NODE",
    "DISTRIBUTED.NUM_NODES",
)
_VIEWS = {
    "DATA.TRAIN.COLLATE_FUNCTION": "views",
    "DATA.TRAIN.COLLATE_FUNCTION_PARAMS": "their masks",
}
_RATE = "OPTIMIZER.param_schedulers.lr"
_TRAINING = {
    "OPTIMIZER.num_epochs": "epochs",
    "OPTIMIZER.name": "optimizer",
    "OPTIMIZER.use_larc": "LARC",
    "OPTIMIZER.weight_decay": "weight decay",
    f"{_RATE}.name": "learning rate",
    f"{_RATE}.start_value": "its peak, scaled",
    f"{_RATE}.auto_lr_scaling": "its scaling",
    f"{_RATE}.warmup_epochs": "its warm-up, in epochs",
    "MODEL.AMP_PARAMS.USE_AMP": "mixed precision",
    "MACHINE.DEVICE": "device",
    "SEED_VALUE": "seed",
}


def important_settings(run: PretrainingRun) -> list[Setting]:
    """Rows for the keys that the run's configuration has; ``run.config`` is not None."""
    config = run.config or {}
    loss, sections = config["LOSS"]["name"], sections_of(config["MODEL"]["TRUNK"]["NAME"])
    method = {
        "MSCN.DATA": "data",
        "MSCN.CHANNELS": "channels of its arrays",
        "LOSS.name": "loss",
        f"LOSS.{loss}": "its settings",
        "MODEL.TRUNK.NAME": "trunk",
        **{f"MODEL.TRUNK.{section}": "its settings" for section in sections},
        "MODEL.HEAD.PARAMS": "heads",
    }
    return [
        *_rows(config, method),
        *_input(run),
        *_rows(config, _VIEWS),
        *_batch(config),
        *_rows(config, _TRAINING),
    ]


def _rows(config: dict[str, Any], titles: dict[str, str]) -> Iterator[Setting]:
    for key, title in titles.items():
        value = value_at(config, key)
        if value not in (None, "", {}, []):
            yield Setting(title, key, in_words(value))


def _input(run: PretrainingRun) -> Iterator[Setting]:
    if run.crop:
        sides = " x ".join(map(str, dict.fromkeys(run.crop)))
        yield Setting("side of a view", "DATA.TRAIN.TRANSFORMS", f"{sides} pixels")
    width = f"sigma {run.sigma:g} pixels" if run.sigma else "none"
    yield Setting("high-pass filter", "DATA.TRAIN.TRANSFORMS", width)


def _batch(config: dict[str, Any]) -> Iterator[Setting]:
    factors = [value_at(config, key) for key in _BATCH]
    if all(isinstance(factor, int) for factor in factors):
        product = " x ".join(map(str, factors))
        total = factors[0] * factors[1] * factors[2]
        yield Setting("images in a step", ", ".join(_BATCH), f"{total} = {product}")


def in_words(value: Any) -> str:
    """A value of a configuration for reading; sections as ``key value, key value``."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {in_words(item)}" for key, item in sorted(value.items()))
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(in_words, value))}]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
