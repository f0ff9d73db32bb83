"""A run's recipe, the settings that determine its weights: equal recipes count as one run."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mscn_plugin import schema
from mscn_plugin.checkpoints.complete import checkpoint_to_resume, is_final, newest_checkpoint
from mscn_plugin.checkpoints.io import VISSL_UNPICKLES, load_checkpoint, training_config
from mscn_plugin.data.image_folder import PHOTOGRAPHS
from mscn_plugin.errors import ConfigError
from mscn_plugin.files import file_digest, save_json
from mscn_plugin.types import Config

RECIPE_KEY = "mscn_recipe"
MACHINE_KEY = "mscn_machine"
"""Where ``mscn_task`` puts both, as JSON, in the ``classy_state_dict`` of a checkpoint."""
NOTE = "recipe.json"
"""The file with a folder's recipe, for checkpoints of VISSL's own task, which do not hold it.

VISSL's ``train_config.yaml`` is that of the last start, which may have been another run's.
"""
_WEIGHTS = "MODEL.WEIGHTS_INIT.PARAMS_FILE"
_CONTENT = f"{_WEIGHTS}.sha256"
"""Key of :data:`NOTE` alone: the digest of the file that the run started from."""

_FREE = (
    "CHECKPOINT",
    "DATA.ENABLE_ASYNC_GPU_COPY",
    "DATA.NUM_DATALOADER_WORKERS",
    "DATA.PIN_MEMORY",
    "DATA.TRAIN.COPY_DESTINATION_DIR",
    "DATA.TRAIN.COPY_TO_LOCAL_DISK",
    "DATA.TRAIN.MMAP_MODE",
    "DISTRIBUTED.INIT_METHOD",
    "DISTRIBUTED.NCCL_DEBUG",
    "DISTRIBUTED.NCCL_SOCKET_NTHREADS",
    "DISTRIBUTED.RUN_ID",
    "HOOKS",
    "LOG_FREQUENCY",
    "METERS",
    "MODEL.FSDP_CONFIG",
    "MODEL._MODEL_INIT_SEED",
    "MULTI_PROCESSING_METHOD",
    "PROFILING",
    "SLURM",
    "TEST_EVERY_NUM_EPOCH",
    "VERBOSE",
    *(f"MSCN.{name}" for name, key in schema.all_keys() if not key.weights),
)
"""Keys and sections that do not affect what is learned."""
_DEFAULTS = {f"MSCN.{name}": key.default for name, key in schema.all_keys()}
"""The values that hold for a checkpoint that was written before a key was added."""
_OF_THE_FOLDER = ("DATA_SOURCES", "LABEL_SOURCES", "DATA_PATHS", "LABEL_PATHS", "DATASET_NAMES")
"""Keys of a split that ``MSCN.DATA`` decides, and of ``DATA.TRAIN`` ``MSCN.TRAIN_SUBSET``, too."""
_IMAGES = "MSCN.TRAINING_IMAGES."
_CHANGES = {
    f"{_IMAGES}number": "which went from {before} to {now} training images",
    f"{_IMAGES}names": "some of whose training images have other names",
    f"{_IMAGES}sizes": "some of whose training images have another size",
}
"""The words for a difference in a key of the images' fingerprint; the first one tells most."""


def recipe_of(cfg: Config) -> dict[str, Any]:
    """The keys of ``cfg`` that decide the weights, flat: ``OPTIMIZER.num_epochs``, for instance."""
    return _recipe(cfg, dict(flat(cfg)))


def _recipe(cfg: Config, values: dict[str, Any]) -> dict[str, Any]:
    recipe = _deciding(cfg, values)
    data = str(recipe["MSCN.DATA"])
    if data not in ("", PHOTOGRAPHS):
        recipe["MSCN.DATA"] = os.path.abspath(data)
    as_text: dict[str, Any] = json.loads(json.dumps(recipe, default=str))
    return as_text


def _deciding(cfg: Config, values: dict[str, Any]) -> dict[str, Any]:
    """Those of the flat ``values`` that decide the weights of a run of ``cfg``."""
    free = [*_FREE, *([] if cfg.TEST_MODEL else ["DATA.TEST"])]
    free += [f"LOSS.{name}" for name in cfg.LOSS if name not in ("name", cfg.LOSS.name)]
    holds_out = cfg.TEST_MODEL and not cfg.DATA.TEST.DATA_SOURCES
    if cfg.MSCN.DATA or cfg.MSCN.TRAIN_SUBSET != 1 or holds_out:
        free += [f"DATA.TRAIN.{key}" for key in _OF_THE_FOLDER]
    if cfg.MSCN.DATA or holds_out:
        free += [f"DATA.TEST.{key}" for key in _OF_THE_FOLDER]
    # VISSL adds these to a loss while it builds it.
    free += [f"LOSS.{cfg.LOSS.name}.{key}" for key in ("name", "num_train_samples")]
    return {
        key: value
        for key, value in values.items()
        if not any(key == name or key.startswith(f"{name}.") for name in free)
    }


def flat(section: Config | dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a configuration by their keys, those of sections joined by dots."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def this_machine() -> dict[str, Any]:
    """What besides the recipe determines the last bit of a weight, as far as a program can tell."""
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "card": card}


def pin_machine(checkpoint: dict[str, Any]) -> None:
    """Take over the threads that wrote ``checkpoint``, and warn of another PyTorch or GPU."""
    here = this_machine()
    before = {**here, **json.loads(checkpoint["classy_state_dict"].get(MACHINE_KEY, "{}"))}
    if before["threads"] != here["threads"]:
        logging.info(f"computing with {before['threads']} threads, as before the interruption")
        torch.set_num_threads(before["threads"])
    for name, key in (("PyTorch", "torch"), ("a machine with the GPU", "card")):
        if before[key] != here[key]:
            logging.warning(
                f"the checkpoint was written by {name} {before[key]}, and this is {here[key]}: "
                "the run resumes, but not bit for bit like an unbroken one"
            )


def another_recipe(cfg: Config, checkpoint: Path, only: str = "") -> tuple[str, Any, Any] | None:
    """The first key in which a complete checkpoint's recipe differs: name, value there, and here.

    Args:
        only: the beginning of the keys to look at.

    Returns:
        None where there is no difference, or where the checkpoint's recipe is not known.
    """
    stated = _stated(cfg, checkpoint)
    if stated is None:
        return None
    before, now = _recipe(cfg, {**_DEFAULTS, **stated}), recipe_of(cfg)
    content = before.pop(_CONTENT, None)
    if content and _CONTENT.startswith(only):
        digest = _digest(cfg)
        if before.get(_WEIGHTS) == now.get(_WEIGHTS):
            before[_CONTENT], now[_CONTENT] = content, digest or content
        elif digest == content:  # the file has been moved, or is a copy
            before[_WEIGHTS] = now.get(_WEIGHTS)
    if not all(any(key.startswith(_IMAGES) for key in recipe) for recipe in (before, now)):
        # One of them does not state its images: it is of an earlier version, or they are not files.
        before, now = (
            {key: value for key, value in recipe.items() if not key.startswith(_IMAGES[:-1])}
            for recipe in (before, now)
        )
    # The head's sizes follow the trunk's, which is what was changed.
    last = ["MODEL.HEAD.PARAMS", *_CHANGES]
    for key in sorted({*before, *now} - set(last)) + last:
        if key.startswith(only) and before.get(key) != now.get(key):
            return key, before.get(key), now.get(key)
    return None


def _stated(cfg: Config, checkpoint: Path) -> dict[str, Any] | None:
    """The recipe that a checkpoint states, else that of the note or configuration beside it.

    For ``mscn_task``, its own checkpoints that state none are of an early version, and are accepted
    as they are.
    """
    own = load_checkpoint(checkpoint, trusted=VISSL_UNPICKLES).get("classy_state_dict", {})
    noted = noted_recipe(checkpoint.parent)
    if RECIPE_KEY in own:
        content = {_CONTENT: noted[_CONTENT]} if _CONTENT in noted else {}
        return {**json.loads(own[RECIPE_KEY]), **content}
    if noted:
        return noted
    values = dict(flat(training_config(checkpoint, follow=False) or {}))
    task = values.get("TRAINER.TASK_NAME")
    of_ours = task == cfg.TRAINER.TASK_NAME and schema.is_pretraining(cfg)
    return None if task is None or of_ours else values


def note_recipe(cfg: Config) -> None:
    """Write :data:`NOTE` for a run that starts in ``CHECKPOINT.DIR``, or resumes with changes.

    Not for one of ``mscn_task`` that starts from no file: its checkpoints hold everything.
    """
    digest, note = _digest(cfg), Path(cfg.CHECKPOINT.DIR) / NOTE
    content = {} if digest is None else {_CONTENT: digest}
    if content or not schema.is_pretraining(cfg):
        save_json(note, {**recipe_of(cfg), **content})
    else:
        note.unlink(missing_ok=True)  # another run's


def noted_recipe(folder: Path) -> dict[str, Any]:
    """The content of :data:`NOTE` in a folder; empty without one, as in earlier versions."""
    try:
        noted = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _digest(cfg: Config) -> str | None:
    file = Path(cfg.MODEL.WEIGHTS_INIT.PARAMS_FILE)
    return file_digest(file) if file.is_file() else None


def refuse_other_images(cfg: Config) -> None:
    """:func:`refuse_another_recipe` by the images alone, in a job that has run before.

    VISSL completes the configuration while it trains, so that its keys cannot be compared there.
    """
    refuse_another_recipe(cfg, _IMAGES)


def refuse_another_recipe(cfg: Config, only: str = "") -> None:
    """Refuse to resume from, or to count as finished, the checkpoints of another recipe.

    Args:
        only: the beginning of the keys to look at.

    Raises:
        ConfigError: ``CHECKPOINT.DIR`` holds one; names a key that differs, and the ways out. With
            ``MSCN.RESUME_CHANGED``: there are to be no more epochs than are done.
    """
    folder, settings = Path(cfg.CHECKPOINT.DIR), cfg.CHECKPOINT
    starts_over = settings.OVERWRITE_EXISTING and not settings.AUTO_RESUME
    if starts_over or not folder.is_dir():
        return
    if cfg.MSCN.RESUME_CHANGED:
        _refuse_fewer_epochs(cfg)
        return
    newest = newest_checkpoint(folder, skip_final=settings.OVERWRITE_EXISTING)
    different = another_recipe(cfg, newest, only) if newest else None
    weights = cfg.MODEL.WEIGHTS_INIT.PARAMS_FILE
    if different is not None:
        key, before, now = different
        there = f"config.CHECKPOINT.DIR, {str(folder)!r},"
        what = f"config.{key} is {now!r}, but {there} holds a run with {before!r}"
        if key in _CHANGES:
            name = "MSCN.DATA" if cfg.MSCN.DATA else "DATA.TRAIN.DATA_PATHS"
            data = cfg.MSCN.DATA or list(cfg.DATA.TRAIN.DATA_PATHS)
            change = _CHANGES[key].format(before=before, now=now)
            what = f"config.{name} is {data!r}, {change} since the run in {there} began"
        elif key == _CONTENT:
            changed = f"whose content has changed since the run in {there} began"
            what = f"config.{_WEIGHTS} is {weights!r}, {changed}"
        raise ConfigError(
            f"{what}: set another folder; or "
            "config.CHECKPOINT.AUTO_RESUME=False "
            "config.CHECKPOINT.OVERWRITE_EXISTING=True to start over in this one; or "
            "config.MSCN.RESUME_CHANGED=True to resume from its newest checkpoint nevertheless"
        )
    if newest and weights and not noted_recipe(folder):
        logging.warning(
            f"config.CHECKPOINT.DIR, {str(folder)!r}, holds a run of an earlier version, which did "
            f"not record what was in config.{_WEIGHTS}: whether {weights!r} has changed since is "
            "not known"
        )


def _refuse_fewer_epochs(cfg: Config) -> None:
    epochs = cfg.OPTIMIZER.num_epochs
    resumed = checkpoint_to_resume(cfg.CHECKPOINT, Path(cfg.CHECKPOINT.DIR))
    if resumed is None:
        return
    checkpoint = load_checkpoint(resumed, trusted=VISSL_UNPICKLES)
    done = checkpoint.get("train_phase_idx", -1) + 1
    least = done if is_final(resumed) else done + 1  # VISSL writes no final one after no epoch
    if epochs < least:
        raise ConfigError(
            f"config.OPTIMIZER.num_epochs is {epochs}, but {resumed}, from which the run resumes "
            f"with config.MSCN.RESUME_CHANGED=True, has done {done}: it must be at least {least}; "
            "or set another config.CHECKPOINT.DIR"
        )
