"""What the export to one format hands over to the check and to the model card."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Export(NamedTuple):
    """The files of one format.

    Attributes:
        readers: by file name, what computes features ``[B, F]`` of normalized, unfiltered images
            ``[B, C, H, W]`` from the file as it was read back.
        loading: how to use the files, in Markdown.
    """

    readers: dict[str, Callable[[Tensor], Tensor]]
    loading: str
