"""The kinds of masks (section 4.3), each a class: what is random about it, and what it hides.

A new kind is a class of its own here, and its settings and its probability in
:class:`~mscn_plugin.masking.distribution.MaskDistribution`.

Shape shorthand: N samples, C color channels, H, W height and width in pixels, R x S rows and
columns of cells.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class MaskKind(Protocol):
    """One kind of mask, with its settings.

    Two of a kind are equal if they hide the same pixels for the same parameters; settings that
    only :meth:`sample` reads do not count.
    """

    def check_size(self, size: Sequence[int]) -> None:
        """Raise ValueError if such masks do not fit in an image of ``size`` (H, W)."""

    def sample(
        self, shape: tuple[int, int], size: Sequence[int], generator: torch.Generator | None
    ) -> Tensor:
        """Sample the parameters of masks, a few numbers each.

        Args:
            shape: (N, C).
            size: (H, W) in pixels.
            generator: source of randomness, on the CPU.

        Returns:
            ``[N, C, ...]``: an independent mask for every channel of every sample.
        """

    def hidden_rows(self, parameters: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The rows of pixels that the masks are made of: few of them differ, and are looked up.

        Args:
            parameters: what :meth:`sample` returned, on any device.
            size: (H, W) in pixels.

        Returns:
            The P different rows of each mask, bool ``[N, C, P, W]``, True where a pixel is hidden;
            and which of them each row of pixels is, int64 ``[N, C, H]``. A mask without equal rows
            has P = H, and the rows' own numbers.
        """


@dataclasses.dataclass(frozen=True)
class GridMask:
    """Cells of a grid are dropped, a fraction ``ratio`` of them (Tables 5 and 6).

    The grid starts at the top left corner. Cells that the image's size does not divide are cut at
    the right and bottom border and count as whole cells. Of the n cells ``floor(n * ratio + U)``
    are dropped, chosen without replacement. With ``ratio_rounding`` "random" U is uniform in
    [0, 1), and the mean is exactly ``ratio`` on any grid; with "nearest" U is 0.5, and all masks
    drop as many. The parameters are the dropped cells, bool ``[N, C, R, S]``.
    """

    ratio: float = dataclasses.field(compare=False)
    cell_size: int
    ratio_rounding: str = dataclasses.field(default="random", compare=False)

    def __post_init__(self) -> None:
        check_pixels("cell_size", self.cell_size)
        check_choice("ratio_rounding", self.ratio_rounding, ("random", "nearest"))

    def check_size(self, size: Sequence[int]) -> None:
        check_fits("cell_size", self.cell_size, size)

    def sample(
        self, shape: tuple[int, int], size: Sequence[int], generator: torch.Generator | None
    ) -> Tensor:
        rows, columns = (math.ceil(side / self.cell_size) for side in size)
        num_cells = rows * columns
        extra = torch.rand(shape, generator=generator)
        if self.ratio_rounding == "nearest":
            extra = torch.full(shape, 0.5)
        num_dropped = torch.floor(num_cells * self.ratio + extra).long()
        order = torch.rand(*shape, num_cells, generator=generator).argsort(dim=-1)
        ranks = order.argsort(dim=-1)
        return (ranks < num_dropped[..., None]).view(*shape, rows, columns)

    def hidden_rows(self, parameters: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        cells = parameters[..., None]
        rows = cells.expand(*cells.shape[:-1], self.cell_size).flatten(3)[..., : size[1]]
        index = torch.arange(size[0], device=parameters.device) // self.cell_size
        return rows, index.expand(*parameters.shape[:2], -1)


@dataclasses.dataclass(frozen=True)
class FocalMask:
    """One box is kept and all around it is hidden (4.3, Figure 3); all places are equally likely.

    With ``focal`` "box" the box is a square anywhere in the image; with "cells" it is a block of
    whole cells of the grid, which per axis are ``floor(side / cell_size + U)``, U uniform in
    [0, 1): the mean area is the square's on a grid that divides the image. The parameters are the
    boxes' top, left, height and width in pixels, int64 ``[N, C, 4]``.
    """

    ratio: float = dataclasses.field(compare=False)
    focal_size: int | None = dataclasses.field(compare=False)
    focal: str = dataclasses.field(default="box", compare=False)
    cell_size: int = dataclasses.field(default=32, compare=False)

    def __post_init__(self) -> None:
        if self.focal_size is not None:
            check_pixels("focal_size", self.focal_size)
        check_choice("focal", self.focal, ("box", "cells"))

    def check_size(self, size: Sequence[int]) -> None:
        if self.focal_size is not None:
            check_fits("focal_size", self.focal_size, size)

    def side(self, side: int) -> int:
        """Side in pixels of the square along an axis of ``side`` pixels."""
        return max(1, round(self._exact_side(side)))

    def _exact_side(self, side: int) -> float:
        if self.focal_size is not None:
            return self.focal_size
        return side * math.sqrt(1 - self.ratio)

    def sample(
        self, shape: tuple[int, int], size: Sequence[int], generator: torch.Generator | None
    ) -> Tensor:
        position = torch.rand(*shape, 2, generator=generator)
        if self.focal == "cells":
            unit = self.cell_size
            cells = torch.tensor([math.ceil(side / unit) for side in size])
            extra = torch.rand(*shape, 2, generator=generator)
            kept = torch.tensor([self._exact_side(side) / unit for side in size])
            sides = torch.floor(kept + extra).long().clamp(min=1).minimum(cells)
            room = cells - sides
        else:
            unit = 1
            sides = torch.tensor([self.side(side) for side in size])
            room = torch.tensor(size) - sides
        top_left = torch.floor(position * (room + 1)).long().minimum(room)
        return unit * torch.cat([top_left, sides.expand_as(top_left)], dim=-1)

    def hidden_rows(self, parameters: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        y, x = (torch.arange(side, device=parameters.device) for side in size)
        top, left, height, width = parameters[..., None].unbind(dim=2)
        beside = (x < left) | (x >= left + width)
        above_or_below = (y < top) | (y >= top + height)
        rows = torch.stack([beside, torch.ones_like(beside)], dim=2)
        return rows, above_or_below.long()


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be {' or '.join(choices)}")


def check_pixels(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a whole number of pixels, at least 1."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of pixels, at least 1")


def check_fits(name: str, value: int, size: Sequence[int]) -> None:
    """Raise ValueError if ``value`` pixels are more than the shorter side of ``size`` (H, W)."""
    if value > min(size):
        raise ValueError(
            f"{name} is {value}; it must be at most the image's shorter side, {min(size)}"
        )
