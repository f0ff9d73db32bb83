"""What a run is made of, as far as it decides the weights: two runs of one recipe are one run."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mscn_plugin import schema
from mscn_plugin.checkpoints.complete import newest_checkpoint
from mscn_plugin.checkpoints.io import VISSL_UNPICKLES, load_checkpoint
from mscn_plugin.data.image_folder import PHOTOGRAPHS
from mscn_plugin.errors import ConfigError
from mscn_plugin.types import Config

RECIPE_KEY = "mscn_recipe"
MACHINE_KEY = "mscn_machine"
"""Where ``mscn_task`` puts both, as JSON, in the ``classy_state_dict`` of a checkpoint."""

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
"""Keys and sections that change nothing of what is learned."""
_DEFAULTS = {f"MSCN.{name}": key.default for name, key in schema.all_keys()}
"""What a checkpoint has that was written before a key was added."""
_OF_THE_FOLDER = ("DATA_SOURCES", "LABEL_SOURCES", "DATA_PATHS", "LABEL_PATHS", "DATASET_NAMES")
"""Keys of ``DATA.TRAIN`` that ``MSCN.DATA`` and ``MSCN.TRAIN_SUBSET`` decide."""
_IMAGES = "MSCN.TRAINING_IMAGES."
_CHANGES = {
    f"{_IMAGES}number": "which went from {before} to {now} training images",
    f"{_IMAGES}names": "some of whose training images have got other names",
    f"{_IMAGES}sizes": "some of whose training images have got another size",
}
"""How a difference in a key of the images' fingerprint reads; the first one says most."""


def recipe_of(cfg: Config) -> dict[str, Any]:
    """The keys of ``cfg`` that decide the weights, flat: ``OPTIMIZER.num_epochs``, for instance."""
    recipe = _deciding(cfg, dict(flat(cfg)))
    data = str(cfg.MSCN.DATA)
    if data not in ("", PHOTOGRAPHS):
        recipe["MSCN.DATA"] = os.path.abspath(data)
    as_text: dict[str, Any] = json.loads(json.dumps(recipe, default=str))
    return as_text


def _deciding(cfg: Config, values: dict[str, Any]) -> dict[str, Any]:
    """Those of the flat ``values`` that decide the weights of a run of ``cfg``."""
    free = [*_FREE, *([] if cfg.TEST_MODEL else ["DATA.TEST"])]
    free += [f"LOSS.{name}" for name in cfg.LOSS if name not in ("name", cfg.LOSS.name)]
    if cfg.MSCN.DATA or cfg.MSCN.TRAIN_SUBSET != 1:
        free += [f"DATA.TRAIN.{key}" for key in _OF_THE_FOLDER]
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
    """What beside the recipe decides the last bit of a weight, as far as a program can see it."""
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
                "the run goes on, but not bit for bit as an unbroken one"
            )


def another_recipe(cfg: Config, checkpoint: Path, only: str = "") -> tuple[str, Any, Any] | None:
    """The first key in which a complete checkpoint's recipe differs: name, value there, and here.

    Args:
        only: the beginning of the keys to look at.

    Returns:
        None where there is no difference, or where the checkpoint does not say its recipe.
    """
    loaded = load_checkpoint(checkpoint, trusted=VISSL_UNPICKLES)
    stated = loaded["classy_state_dict"].get(RECIPE_KEY)
    if stated is None:
        return None
    before, now = _deciding(cfg, {**_DEFAULTS, **json.loads(stated)}), recipe_of(cfg)
    if not all(any(key.startswith(_IMAGES) for key in recipe) for recipe in (before, now)):
        # One of them does not say its images: it is of an earlier version, or they are no files.
        before, now = (
            {key: value for key, value in recipe.items() if not key.startswith(_IMAGES[:-1])}
            for recipe in (before, now)
        )
    # The head's sizes follow the trunk's, which is what was changed.
    last = ["MODEL.HEAD.PARAMS", *_CHANGES]
    for key in sorted({*before, *now} - set(last)) + last:
        if key.startswith(only) and _plain(before.get(key)) != _plain(now.get(key)):
            return key, before.get(key), now.get(key)
    return None


def _plain(value: Any) -> Any:
    """A value whose paths end by no slash, as those of earlier versions may."""
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value.rstrip("/") if isinstance(value, str) else value


def refuse_other_images(cfg: Config) -> None:
    """:func:`refuse_another_recipe` by the images alone, in a job that has run before.

    VISSL completes the configuration while it trains, so that its keys say nothing there.
    """
    refuse_another_recipe(cfg, _IMAGES)


def refuse_another_recipe(cfg: Config, only: str = "") -> None:
    """Refuse to go on, or to be content, with the checkpoints of a run of another recipe.

    Args:
        only: the beginning of the keys to look at.

    Raises:
        ConfigError: ``CHECKPOINT.DIR`` holds one; names a key that differs, and the ways out.
    """
    folder, settings = Path(cfg.CHECKPOINT.DIR), cfg.CHECKPOINT
    anew = settings.OVERWRITE_EXISTING and not settings.AUTO_RESUME
    if cfg.MSCN.RESUME_CHANGED or anew or not folder.is_dir():
        return
    newest = newest_checkpoint(folder, skip_final=settings.OVERWRITE_EXISTING)
    different = another_recipe(cfg, newest, only) if newest else None
    if different is not None:
        key, before, now = different
        there = f"config.CHECKPOINT.DIR, {str(folder)!r},"
        what = f"config.{key} is {now!r}, but {there} holds a run with {before!r}"
        if key in _CHANGES:
            name = "MSCN.DATA" if cfg.MSCN.DATA else "DATA.TRAIN.DATA_PATHS"
            data = cfg.MSCN.DATA or list(cfg.DATA.TRAIN.DATA_PATHS)
            change = _CHANGES[key].format(before=before, now=now)
            what = f"config.{name} is {data!r}, {change} since the run in {there} began"
        raise ConfigError(
            f"{what}: set another folder; or "
            "config.CHECKPOINT.AUTO_RESUME=False "
            "config.CHECKPOINT.OVERWRITE_EXISTING=True to begin anew in this one; or "
            "config.MSCN.RESUME_CHANGED=True to go on from its newest checkpoint nevertheless"
        )
