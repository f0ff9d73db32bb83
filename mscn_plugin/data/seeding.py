"""Random numbers as a function of the place in the run, not of what was drawn before.

A sample draws from (seed, epoch, its index in the dataset); what the process draws after a batch,
such as noise on the device, from (seed, rank, epoch, the batch's number). The collator runs
directly after the last sample of its batch, in the same process, and continues with that sample's
generators. So neither the workers nor interruptions change a number.
"""

from __future__ import annotations

import hashlib
import random
import struct

import numpy as np
import torch


def seed_generators(*place: int) -> None:
    """Seed the generators of Python, NumPy and PyTorch's CPU from a hash of ``place``.

    Each has a part of the hash of its own: NumPy's and PyTorch's are the same algorithm, and the
    same seed would give both the same numbers.
    """
    digest = hashlib.blake2b(struct.pack(f"<{len(place)}q", *place), digest_size=24).digest()
    for_python, for_numpy, for_pytorch = struct.unpack("<QQQ", digest)
    random.seed(for_python)
    np.random.seed(for_numpy % 2**32)
    # Not torch.manual_seed, which in a loader's worker would queue seeds for CUDA without end.
    torch.default_generator.manual_seed(for_pytorch)
