"""The one place that puts MSCN into VISSL."""

from __future__ import annotations

import importlib

REGISTERING_MODULES = (
    "mscn_plugin.views.transforms",
    "mscn_plugin.views.augmentations",
    "mscn_plugin.views.collator",
    "mscn_plugin.losses.mscn_info_nce_loss",
    "mscn_plugin.losses.byol_loss",
    "mscn_plugin.models.branchwise_model",
    "mscn_plugin.models.small_resnet",
    "mscn_plugin.models.high_pass_trunk",
    "mscn_plugin.training.warmup_cosine",
    "mscn_plugin.training.task",
    "mscn_plugin.evaluation.frozen_features_engine",
)
"""Modules whose import fills VISSL's registries; Python imports each of them once."""


def register_with_vissl() -> None:
    """See :func:`mscn_plugin.register`."""
    from mscn_plugin.integration import compat

    compat.apply()
    for module in REGISTERING_MODULES:
        importlib.import_module(module)

    from mscn_plugin.data import readable_images
    from mscn_plugin.integration import config_hook, launcher

    readable_images.install()
    launcher.install()
    config_hook.install()
