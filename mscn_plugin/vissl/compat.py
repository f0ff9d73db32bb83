"""What VISSL 0.1.6 of 2021 needs to run beside today's libraries; each part only where needed."""

from __future__ import annotations

import collections
import collections.abc
import functools
import importlib
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

_REMOVED_ALIASES = {"bool": bool, "float": float, "int": int, "object": object}

_HOOKED: dict[str, dict[str, tuple[str, ...]]] = {
    "vissl.utils.hydra_config": {"infer_and_assert_hydra_config": ("cfg",)},
    "vissl.utils.distributed_launcher": {
        "_distributed_worker": ("local_rank", "cfg"),
        "_ResumableSlurmJob": (),
        "is_training_finished": ("cfg", "checkpoint_folder"),
        "get_resume_checkpoint": ("cfg", "checkpoint_folder"),
        "_copy_to_local": ("cfg",),
        "_cleanup_local_dir": ("cfg",),
    },
}
"""VISSL's functions that ours replace, and their first arguments."""


def unknown_hook() -> str | None:
    """The message about a VISSL that the package cannot hook into, or None.

    Arguments after those of VISSL 0.1.6 are passed on: VISSL's main branch has one.
    """
    for module, hooks in _HOOKED.items():
        for name, first in hooks.items():
            hooked = getattr(importlib.import_module(module), name, None)
            arguments = () if hooked is None else tuple(inspect.signature(hooked).parameters)
            if hooked is None or (first and arguments[: len(first)] != first):
                has = "is missing" if hooked is None else f"takes ({', '.join(arguments)})"
                return (
                    f"{module}.{name} {has}, where VISSL 0.1.6 and its main branch have "
                    f"{name}({', '.join(first)}): MSCN configurations cannot run with this VISSL"
                )
    return None


def apply() -> None:
    """Apply every shim that this environment needs; calling it again changes nothing."""
    restore_numpy_aliases()
    restore_collections_alias()
    make_average_precision_scalar()
    let_tensorboard_log_one_of_two_rates()
    let_collators_share_memory()


def restore_numpy_aliases() -> None:
    """Give NumPy 1.24 and later ``np.float``, ``np.int``, ``np.object`` and ``np.bool`` back.

    VISSL's mean-AP meter, SVM evaluation, instance retrieval and mix-up collator use them.
    """
    for name, builtin in _REMOVED_ALIASES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not hasattr(np, name):
                setattr(np, name, builtin)


def restore_collections_alias() -> None:
    """Give Python 3.10 and later ``collections.MutableMapping`` back.

    VISSL's benchmark-suite scheduler collects results with it.
    """
    if not hasattr(collections, "MutableMapping"):
        collections.MutableMapping = collections.abc.MutableMapping  # type: ignore[attr-defined]


class _ScalarAP(float):
    """An average precision that is a number, and that VISSL's meter may index with 0."""

    def __getitem__(self, index: int) -> float:
        return (float(self),)[index]


def make_average_precision_scalar() -> None:
    """Let ``calculate_ap`` return a number.

    VISSL's returns an array of shape (1,), which NumPy 2.4 refuses to assign to one element of
    a matrix, as the SVM trainers do.
    """
    from vissl.utils.svm_utils import evaluate

    if not hasattr(evaluate.calculate_ap, "__wrapped__"):
        evaluate.calculate_ap = _returning_scalar(evaluate.calculate_ap)


def _returning_scalar(calculate_ap: Callable[..., Any]) -> Callable[..., _ScalarAP]:
    @functools.wraps(calculate_ap)
    def scalar_ap(rec: np.ndarray, prec: np.ndarray) -> _ScalarAP:
        return _ScalarAP(np.asarray(calculate_ap(rec, prec)).reshape(-1)[0])

    return scalar_ap


def let_tensorboard_log_one_of_two_rates() -> None:
    """Let VISSL's TensorBoard hook run where trunk and head have rates of their own (A.3).

    It rounds what may be a list of rates. TensorBoard gets the first, the trunk's; VISSL's log has
    all of them.
    """
    from vissl.hooks import tensorboard_hook

    tensorboard_hook.round = _round_first


def _round_first(value: Any, digits: int) -> float:
    return round(value[0] if isinstance(value, list) else value, digits)


def let_collators_share_memory() -> None:
    """Let a loader's worker that finds no shared memory end the run.

    VISSL's loaders would wait for its batch forever; see
    :mod:`mscn_plugin.data.shared_memory`.
    """
    import vissl.data

    if not hasattr(vissl.data.get_collator, "__wrapped__"):
        vissl.data.get_collator = _sharing(vissl.data.get_collator)


def _sharing(get_collator: Callable[..., Any]) -> Callable[..., Any]:
    from mscn_plugin.data.shared_memory import collate_for_trainer

    @functools.wraps(get_collator)
    def get_sharing_collator(*args: Any, **kwargs: Any) -> Any:
        return functools.partial(collate_for_trainer, get_collator(*args, **kwargs))

    return get_sharing_collator
