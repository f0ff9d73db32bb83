"""The kinds of masks (section 4.3), each a class: what is random about it, and what it hides.

A new kind is a class of its own here, and its settings and its probability in
:class:`~mscn_plugin.masking.distribution.MaskDistribution`.

Shape shorthand: N samples, C color channels, H, W height and width in pixels, R x S rows and
columns of cells.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from mscn_plugin.types import is_whole

CellSize = int | Sequence[int]
"""Side of a square cell in pixels, or ``[height, width]``."""


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

    Attributes:
        cell: height and width of a cell in pixels, by ``cell_size``.
    """

    ratio: float = dataclasses.field(compare=False)
    cell_size: CellSize = dataclasses.field(compare=False)
    ratio_rounding: str = dataclasses.field(default="random", compare=False)
    cell: tuple[int, int] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cell", cell_sides("cell_size", self.cell_size))
        check_choice("ratio_rounding", self.ratio_rounding, ("random", "nearest"))

    def check_size(self, size: Sequence[int]) -> None:
        check_cell_fits("cell_size", self.cell_size, size)

    def sample(
        self, shape: tuple[int, int], size: Sequence[int], generator: torch.Generator | None
    ) -> Tensor:
        rows, columns = (math.ceil(side / unit) for side, unit in zip(size, self.cell))
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
        height, width = self.cell
        rows = cells.expand(*cells.shape[:-1], width).flatten(3)[..., : size[1]]
        index = torch.arange(size[0], device=parameters.device) // height
        return rows, index.expand(*parameters.shape[:2], -1)


@dataclasses.dataclass(frozen=True)
class FocalMask:
    """One box is kept and all around it is hidden (4.3, Figure 3); all places are equally likely.

    With ``focal`` "box" the box is a square anywhere in the image; with "cells" it is a block of
    whole cells of the grid, which per axis are ``floor(side / cell + U)``, U uniform in
    [0, 1), and at least one: the mean area is the square's on a grid that divides the image. On
    another one, cells that the border cuts count as whole, as in a grid mask. The parameters are
    the boxes' top, left, height and width in pixels, int64 ``[N, C, 4]``.
    """

    ratio: float = dataclasses.field(compare=False)
    focal_size: int | None = dataclasses.field(compare=False)
    focal: str = dataclasses.field(default="box", compare=False)
    cell_size: CellSize = dataclasses.field(default=32, compare=False)

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
            units = cell_sides("cell_size", self.cell_size)
            counts = [math.ceil(side / unit) for side, unit in zip(size, units)]
            whole = [self._exact_side(n * unit) / unit for n, unit in zip(counts, units)]
            extra, cells = torch.rand(*shape, 2, generator=generator), torch.tensor(counts)
            sides = torch.floor(torch.tensor(whole) + extra).long().clamp(min=1).minimum(cells)
            room = cells - sides
        else:
            units = (1, 1)
            sides = torch.tensor([self.side(side) for side in size])
            room = torch.tensor(size) - sides
        top_left = torch.floor(position * (room + 1)).long().minimum(room)
        return torch.tensor([*units, *units]) * torch.cat(
            [top_left, sides.expand_as(top_left)], dim=-1
        )

    def hidden_rows(self, parameters: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        y, x = (torch.arange(side, device=parameters.device) for side in size)
        top, left, height, width = parameters[..., None].unbind(dim=2)
        beside = (x < left) | (x >= left + width)
        above_or_below = (y < top) | (y >= top + height)
        rows = torch.stack([beside, torch.ones_like(beside)], dim=2)
        return rows, above_or_below.long()


@dataclasses.dataclass(frozen=True)
class BandMask:
    """Bands are hidden, whole rows and whole columns of the image, as in SpecAugment.

    Not in the paper. The size of each band is uniform between 0 and the largest one of its axis,
    rounded at random to whole pixels, so that its mean is half of that. All places are equally
    likely, and a band that leaves the image at one border continues at the opposite one: every row
    is hidden as often as any other, and every column. Bands may overlap. The parameters are the
    bands' starts and sizes in pixels, those of the rows first, int64 ``[N, C, bands, 2]``.

    Attributes:
        ratio: mean fraction of the image that is hidden where no sizes are given; then each band
            hides the same mean fraction of its axis.
        rows: number of bands of rows.
        columns: number of bands of columns.
        row_size: largest height in pixels of a band of rows, or None for the one by ``ratio``.
        column_size: largest width in pixels of a band of columns, or None for the one by ``ratio``.
    """

    ratio: float = dataclasses.field(compare=False)
    rows: int = 2
    columns: int = 2
    row_size: int | None = dataclasses.field(default=None, compare=False)
    column_size: int | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name, count in (("row_bands", self.rows), ("column_bands", self.columns)):
            if not is_whole(count) or count < 0:
                raise ValueError(f"{name} is {count!r}; it must be a whole number of at least 0")
        if self.rows == self.columns == 0:
            raise ValueError("row_bands is 0, and column_bands, too; one of them must be above 0")
        for name, size in self._sizes().items():
            if size is not None:
                check_pixels(name, size)

    def _sizes(self) -> dict[str, int | None]:
        return {"row_band_size": self.row_size, "column_band_size": self.column_size}

    def check_size(self, size: Sequence[int]) -> None:
        for (name, largest), side, axis in zip(self._sizes().items(), size, ("height", "width")):
            if largest is not None and largest > side:
                raise ValueError(
                    f"{name} is {largest}; it must be at most the image's {axis}, {side}"
                )
        bands = self.rows + self.columns
        by_ratio = (self.row_size is None) * self.rows + (self.column_size is None) * self.columns
        if by_ratio and self._mean_share > 0.5:
            raise ValueError(
                f"ratio is {self.ratio:g}; with band masks of {self.rows} + {self.columns} bands "
                f"it must be at most {1 - 0.5**bands:g}, since a band hides at most half of its "
                "axis in the mean"
            )

    @property
    def _mean_share(self) -> float:
        """Of its axis that a band by ``ratio`` hides: all of them together leave 1 - ratio."""
        return 1 - math.pow(1 - self.ratio, 1 / (self.rows + self.columns))

    def largest(self, size: Sequence[int]) -> tuple[float, float]:
        """Largest height of a band of rows and largest width of one of columns, in pixels."""
        height, width = (
            2 * side * self._mean_share if given is None else float(given)
            for side, given in zip(size, self._sizes().values())
        )
        return height, width

    def sample(
        self, shape: tuple[int, int], size: Sequence[int], generator: torch.Generator | None
    ) -> Tensor:
        def of_each_band(of_rows: float, of_columns: float) -> Tensor:
            return torch.tensor([of_rows] * self.rows + [of_columns] * self.columns)

        sides = of_each_band(*size)
        place, part, extra = torch.rand(3, *shape, len(sides), generator=generator)
        starts = torch.floor(place * sides).minimum(sides - 1)
        sizes = torch.floor(part * of_each_band(*self.largest(size)) + extra).minimum(sides)
        return torch.stack([starts, sizes], dim=-1).long()

    def hidden_rows(self, parameters: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        def hidden(bands: Tensor, side: int) -> Tensor:
            starts, sizes = bands[..., None].unbind(dim=3)
            behind_start = (torch.arange(side, device=bands.device) - starts) % side
            return (behind_start < sizes).any(dim=2)

        rows = hidden(parameters[:, :, : self.rows], size[0])
        columns = hidden(parameters[:, :, self.rows :], size[1])
        return torch.stack([columns, torch.ones_like(columns)], dim=2), rows.long()


def cell_sides(name: str, value: object) -> tuple[int, int]:
    """Height and width in pixels of a cell: one number for both, or a list of the two.

    Raises:
        ValueError: it is neither.
    """
    sides: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value, value]
    if len(sides) != 2 or not all(is_whole(side) and side >= 1 for side in sides):
        raise ValueError(
            f"{name} is {value!r}; it must be a whole number of pixels, at least 1, or a list of "
            "two, [height, width]"
        )
    return int(sides[0]), int(sides[1])


def check_cell_fits(name: str, value: CellSize, size: Sequence[int]) -> None:
    """Raise ValueError if cells of ``value``, in pixels, are larger than images of ``size``."""
    height, width = cell_sides(name, value)
    if height == width:
        check_fits(name, height, size)
    elif height > size[0] or width > size[1]:
        raise ValueError(
            f"{name} is {value!r}; its height must be at most the image's, {size[0]}, and its "
            f"width at most {size[1]}"
        )


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be {' or '.join(choices)}")


def check_pixels(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is a whole number of pixels, at least 1."""
    if not is_whole(value) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of pixels, at least 1")


def check_fits(name: str, value: int, size: Sequence[int]) -> None:
    """Raise ValueError if ``value`` pixels are more than the shorter side of ``size`` (H, W)."""
    if value > min(size):
        raise ValueError(
            f"{name} is {value}; it must be at most the image's shorter side, {min(size)}"
        )
