"""Completes and checks MSCN configurations before VISSL starts anything."""

from __future__ import annotations

import contextlib
import functools
import io
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vissl.utils import hydra_config

from mscn_plugin.checkpoints.complete import refuse_damaged, refuse_links
from mscn_plugin.checkpoints.fingerprint import refuse_another_recipe, refuse_other_images
from mscn_plugin.config import data
from mscn_plugin.config.checks import checkpoint, dry_run, mscn
from mscn_plugin.config.infer import prepare_config
from mscn_plugin.data.sources import SOURCES
from mscn_plugin.errors import ConfigError
from mscn_plugin.runs import lock
from mscn_plugin.schema import is_pretraining
from mscn_plugin.transforms.collate import COLLATOR
from mscn_plugin.types import Config
from mscn_plugin.vissl.error_messages import message_of, print_errors_plainly

_vissl_infer_and_assert = hydra_config.infer_and_assert_hydra_config


def install() -> None:
    """Put :func:`infer_and_assert_hydra_config` in the place of VISSL's function of this name."""
    hydra_config.infer_and_assert_hydra_config = infer_and_assert_hydra_config


@functools.wraps(_vissl_infer_and_assert)
def infer_and_assert_hydra_config(cfg: Config, *more: Any, **options: Any) -> Any:
    """VISSL's, between the checks of a configuration that has a part of MSCN.

    Args:
        cfg: the ``config`` part, completed in place.
        more, options: what later versions of VISSL pass in addition.

    Raises:
        ConfigError: the configuration cannot run here; nothing was written.
    """
    if not mscn.uses_mscn(cfg):
        _refuse_unfiltered(cfg)
        return _vissl_infer_and_assert(cfg, *more, **options)  # later VISSLs pass an engine
    print_errors_plainly()
    lists = prepare_config(cfg)
    try:
        with _views_as_of_multicrop(cfg.DATA.TRAIN):
            inferred = _vissl_infer_and_assert(cfg, *more, **options)
    except Exception as error:
        # Half of VISSL's assertions have no message; the line shows what was asserted.
        line = traceback.extract_tb(error.__traceback__)[-1].line or ""
        words = " ".join(str(error).split()) or line
        raise ConfigError(
            f"VISSL refuses this configuration: {type(error).__name__}: {words}"
        ) from error
    dry_run.check_first_batch(cfg)
    # Of what VISSL has completed, and before anything is written to the folder.
    folder = Path(cfg.CHECKPOINT.DIR)
    refuse_links(folder, staged=is_pretraining(cfg))
    refuse_damaged(cfg.CHECKPOINT, folder)
    refuse_another_recipe(cfg)
    if cfg.DISTRIBUTED.NUM_NODES == 1:  # else the lock may be that of the same run's first node
        lock.refuse_if_held(cfg.CHECKPOINT.DIR)
    data.use_lists(cfg, lists)
    return inferred


@contextlib.contextmanager
def _views_as_of_multicrop(train: Config) -> Iterator[None]:
    """Show VISSL its multi-crop collator in the place of ours, which hands over the same list.

    VISSL refuses SwAV with any other collator, and with DINO would silently replace ours.
    """
    ours = train.COLLATE_FUNCTION
    if ours == COLLATOR:
        train.COLLATE_FUNCTION = "multicrop_collator"
    try:
        yield
    finally:
        if ours == COLLATOR:
            train.COLLATE_FUNCTION = ours


def _refuse_unfiltered(cfg: Config) -> None:
    """Refuse a checkpoint of ours without its filter; VISSL's other errors stay tracebacks."""
    try:
        checkpoint.refuse_unfiltered(cfg)
    except ConfigError:
        print_errors_plainly()
        raise


def refusal(arguments: Sequence[str]) -> str | None:
    """The message with which VISSL's tool refuses its arguments, or None if it takes them.

    Raises:
        Exception: what would end in a traceback.
    """
    own = sys.argv
    sys.argv = [own[0], *arguments]  # which some of the messages quote
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            cfg = hydra_config.compose_hydra_configuration(list(arguments))
            hydra_config.convert_to_attrdict(cfg, dump_config=False)
    except Exception as error:
        message = message_of(error)
        if message is None:
            raise
        return message
    finally:
        sys.argv = own
    return None


def check_images_again(cfg: Config) -> None:
    """Check in a SLURM job what has been checked at its submission: the images may have changed.

    Raises:
        ConfigError: they have, since the run of ``CHECKPOINT.DIR`` began.
    """
    train = cfg.DATA.TRAIN
    folders_alone = train.DATA_PATHS and SOURCES.keys() >= set(train.DATA_SOURCES)
    if is_pretraining(cfg) and folders_alone:
        places = zip(train.DATA_SOURCES, train.DATA_PATHS)
        key = "config.DATA.TRAIN.DATA_PATHS"
        folders = {"TRAIN": [data.contents_of(key, source, path) for source, path in places]}
        data.take_stock(cfg, folders)
        refuse_other_images(cfg)
