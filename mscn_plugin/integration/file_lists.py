"""Checks of the lists of images and labels that a configuration names."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from mscn_plugin.errors import ConfigError


def check_file_lists(cfg: Any) -> None:
    """Check that the files of ``disk_filelist`` hold plain values: VISSL unpickles what they hold.

    Raises:
        ConfigError: one is a pickle, holds objects, or is damaged.
    """
    for split in ("TRAIN", "TEST"):
        section = cfg.DATA[split]
        for kind in ("DATA", "LABEL"):
            key = f"config.DATA.{split}.{kind}_PATHS"
            sources, paths = section[f"{kind}_SOURCES"] or (), section[f"{kind}_PATHS"] or ()
            for source, path in zip(sources, paths):
                if source == "disk_filelist" and os.path.isfile(path):
                    _check_list(key, str(path))


def _check_list(key: str, path: str) -> None:
    if not path.endswith(".npy"):
        raise ConfigError(f"{key} names {path!r}; a list of disk_filelist must be a .npy file")
    try:
        content = np.load(path, mmap_mode="r", allow_pickle=False)
        plain = isinstance(content, np.ndarray)
    except (OSError, ValueError, EOFError):
        plain = False
    if not plain:
        raise ConfigError(
            f"{key} names {path!r}, which is damaged or holds objects, whose loading can run code: "
            "it must be an array of text or numbers, as np.save(..., allow_pickle=False) writes it"
        )
