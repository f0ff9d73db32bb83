"""Check that decoded images have room in memory where they are to be kept there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mscn_plugin.data.decoding import EncodedImage, UnreadableImageError, reading
from mscn_plugin.data.memory_cache import held_bytes, refusal, sizes_refusal
from mscn_plugin.data.sources import open_listed
from mscn_plugin.errors import ConfigError
from mscn_plugin.types import Config

_MEASURED = 1000
"""Of more images, the mean is taken over this many, evenly spaced."""


def check_cache(cfg: Config, images: Sequence[Any]) -> None:
    """Compare what ``MSCN.CACHE`` needs with the memory that is left, and sizes for ``CROP_ON``.

    For a SLURM job it is the memory that the job requests. The ranks do it again, with all
    images, on the machines that they run on.

    Args:
        images: paths, or paths with labels.

    Raises:
        ConfigError: it is not enough, or images to be cropped on the device differ in size.
    """
    if cfg.MSCN.CACHE == "none":
        return
    if cfg.MSCN.CHANNELS is not None:
        raise ConfigError(
            f"config.MSCN.CACHE is {cfg.MSCN.CACHE}, which holds pictures of 8 bits; with "
            f"config.MSCN.CHANNELS {cfg.MSCN.CHANNELS} it must be none"
        )
    number = len(images)
    places = range(0, number, -(-number // _MEASURED))
    total, sizes = 0, set()
    for place in places:
        path = images[place] if isinstance(images[place], str) else images[place][0]
        try:
            with reading(path), open_listed(path) as image:
                file = EncodedImage(image)
                total += sum(held_bytes(file))
                if cfg.MSCN.CROP_ON == "device":
                    sizes.add(file.size)
        except UnreadableImageError:
            continue
    about = "about " if len(places) < number else ""
    message = None
    if not cfg.SLURM.USE_SLURM or cfg.SLURM.MEM_GB:  # 0 is all memory of a node, whatever it has
        job_gb = cfg.SLURM.MEM_GB if cfg.SLURM.USE_SLURM else None
        message = refusal(total * number / len(places), number, about, job_gb)
    message = message or sizes_refusal(sizes)
    if message is not None:
        raise ConfigError(message)
