"""Where the YAML configs are."""

from __future__ import annotations

from pathlib import Path


def config_folder() -> Path:
    """The folder that holds ``config/mscn``: packaged, or the checkout's in a development install.

    Raises:
        FileNotFoundError: neither is there; the installation is broken.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "config" / "mscn").is_dir():
            return folder
    raise FileNotFoundError(f"no MSCN configs in {package / 'configs'}: install mscn-plugin again")
