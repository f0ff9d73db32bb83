"""The one place that puts MSCN into VISSL."""

from __future__ import annotations

import importlib
import logging
import re
import sys
from importlib import metadata

from mscn_plugin.errors import ConfigError

REGISTERING_MODULES = (
    "mscn_plugin.transforms.transforms",
    "mscn_plugin.transforms.opencv",
    "mscn_plugin.transforms.sampled_views",
    "mscn_plugin.transforms.collate",
    "mscn_plugin.models.branchwise",
    "mscn_plugin.models.input_channels",
    "mscn_plugin.models.small_resnet",
    "mscn_plugin.models.timm_trunk",
    "mscn_plugin.models.high_pass_trunk",
    "mscn_plugin.training.lr_schedule",
    "mscn_plugin.training.task",
    "mscn_plugin.evaluation.frozen_features",
    "mscn_plugin.evaluation.occlusion",
    "mscn_plugin.evaluation.boxes",
)
"""Modules whose import fills VISSL's registries, as those of the losses do; imported once each."""


ENTRY_POINTS = "mscn_plugin"
"""The group in which other packages name their modules that register something."""
_ASKS_FOR_MSCN = re.compile(r"\+{0,2}config(=mscn/|/mscn/|\.MSCN\b|\.[\w.]+=(mscn|high_pass)_)")


def register_with_vissl() -> None:
    """See :func:`mscn_plugin.register`.

    Raises:
        ConfigError: the command line names a config of MSCN, and this VISSL has other hooks.
    """
    from mscn_plugin.vissl import compat

    compat.apply()
    from mscn_plugin.losses.registry import losses

    for module in REGISTERING_MODULES:
        importlib.import_module(module)
    losses()
    _import_other_packages()

    from mscn_plugin.data import readable_images

    unknown = compat.unknown_hook()
    if unknown is not None:
        if any(map(_ASKS_FOR_MSCN.match, sys.argv[1:])):
            raise ConfigError(unknown)
        logging.warning(f"{unknown}; others are left alone")
        return
    from mscn_plugin.vissl import config_hook, launcher, timm_training

    readable_images.install()
    timm_training.install()
    launcher.install()
    config_hook.install()


def _import_other_packages() -> None:
    """Import the modules of :data:`ENTRY_POINTS`; one that fails is logged and skipped."""
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except Exception as error:  # of another's code, which may raise anything
            logging.warning(
                f"{entry.value}, an entry point of {ENTRY_POINTS}, is left out, since it cannot be "
                f"imported: {error!r}"
            )
