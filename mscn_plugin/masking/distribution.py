"""Random draws of masks (sections 4.3 and 4.4), apart from their application.

A :class:`MaskDistribution` is what the config says about one branch. Its :meth:`draw` yields a
:class:`MaskDraw`: for each sample which cells fall, which box stays, which kind of mask it is.
Nothing in this file touches an image; :mod:`mscn_plugin.masking.apply` applies a draw.

Shape shorthand: N samples, C colour channels, R x S rows and columns of cells.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from typing import Any, Dict, Optional, Sequence, Tuple

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class MaskDistribution:
    """What is random about the masks of one branch.

    Attributes:
        ratio: mean fraction of grid cells dropped, in [0, 1). Table 5: 0.15 is best, 0.30 was
            used while designing.
        cell_size: side of a grid cell in pixels, at least 1. Table 6: 32 is best at 224 px.
        focal_probability: probability in [0, 1] that a sample gets a focal mask instead of a
            grid mask. Table 8: 0.4 is best, 0.2 was used while designing.
        focal_size: side in pixels of the box that a focal mask keeps, or None for the box that
            hides the fraction ``ratio`` of the image: ``round(side * sqrt(1 - ratio))`` per
            axis (207 of 224 px at 0.15). Not stated in the paper, which calls the mask "a crop
            without resizing": this box drops what the grid drops, so that the two kinds of mask
            differ in geometry alone.
        channelwise_probability: probability in [0, 1] that the colour channels get three
            independent masks instead of one shared mask. Table 10: 0.8 to 0.9 is best, 0.7 was
            used while designing.
        noise_std: standard deviation of the Gaussian noise that fills masked pixels, in units of
            normalised pixels, at least 0; 0 fills with zeros. Section 4.4 varies it between the
            branches and states no value: the default is the middle of the configs' 0.15 and 0.30.

    Raises:
        ValueError: a value is outside of its range; the message starts with the field's name.
    """

    ratio: float = 0.15
    cell_size: int = 32
    focal_probability: float = 0.4
    focal_size: Optional[int] = None
    channelwise_probability: float = 0.8
    noise_std: float = 0.225

    def __post_init__(self) -> None:
        _check_real(self, "ratio", lambda v: 0 <= v < 1, "a fraction from 0 to below 1")
        for name in ("focal_probability", "channelwise_probability"):
            _check_real(self, name, lambda v: 0 <= v <= 1, "a probability from 0 to 1")
        _check_real(self, "noise_std", lambda v: 0 <= v < math.inf, "at least 0 and finite")
        _check_pixels(self, "cell_size")
        if self.focal_size is not None:
            _check_pixels(self, "focal_size")

    def check_size(self, size: Sequence[int]) -> None:
        """Raise ValueError if cells or boxes do not fit in an image of ``size`` (H, W)."""
        for name in ("cell_size", "focal_size"):
            value = getattr(self, name)
            if value is not None and value > min(size):
                raise ValueError(
                    f"{name} is {value}; it must be at most the image's shorter side, {min(size)}"
                )

    def draw(
        self,
        num_samples: int,
        size: Sequence[int],
        channels: int = 3,
        generator: Optional[torch.Generator] = None,
    ) -> MaskDraw:
        """Draw one mask for each of ``num_samples`` images.

        The grid starts at the top left corner. Cells that the image's size does not divide are
        cut at the right and bottom border and count as whole cells. Of the n cells
        ``floor(n * ratio + U)`` fall, U uniform in [0, 1), drawn without replacement: the mean
        is exactly ``ratio`` on any grid.

        Args:
            num_samples: N, at least 0.
            size: (H, W) in pixels.
            channels: C.
            generator: source of randomness, on the CPU; PyTorch's global one if None, which
                VISSL seeds differently in every loader worker.

        Returns:
            A :class:`MaskDraw` on the CPU.

        Raises:
            ValueError: cells or boxes are larger than the image.
        """
        self.check_size(size)
        shape = (num_samples, channels)
        focal = torch.rand(num_samples, generator=generator) < self.focal_probability
        independent = torch.rand(num_samples, generator=generator) < self.channelwise_probability
        cells = self._draw_cells(shape, size, generator)
        boxes = self._draw_boxes(shape, size, generator)
        cells = torch.where(independent[:, None, None, None], cells, cells[:, :1])
        boxes = torch.where(independent[:, None, None], boxes, boxes[:, :1])
        return MaskDraw(
            size=(int(size[0]), int(size[1])),
            cell_size=self.cell_size,
            focal=focal,
            channelwise=independent,
            dropped_cells=cells,
            kept_boxes=boxes,
            noise_std=torch.full((num_samples,), float(self.noise_std)),
        )

    def _draw_cells(
        self, shape: Tuple[int, int], size: Sequence[int], generator: Optional[torch.Generator]
    ) -> Tensor:
        rows, columns = (math.ceil(side / self.cell_size) for side in size)
        num_cells = rows * columns
        extra = torch.rand(shape, generator=generator)
        num_dropped = torch.floor(num_cells * self.ratio + extra).long()
        order = torch.rand(*shape, num_cells, generator=generator).argsort(dim=-1)
        ranks = order.argsort(dim=-1)
        return (ranks < num_dropped[..., None]).view(*shape, rows, columns)

    def _draw_boxes(
        self, shape: Tuple[int, int], size: Sequence[int], generator: Optional[torch.Generator]
    ) -> Tensor:
        position = torch.rand(*shape, 2, generator=generator)
        sides = torch.tensor([self.focal_side(side) for side in size])
        room = torch.tensor(size) - sides
        top_left = torch.floor(position * (room + 1)).long().minimum(room)
        return torch.cat([top_left, sides.expand_as(top_left)], dim=-1)

    def focal_side(self, side: int) -> int:
        """Side in pixels of the focal box along an axis of ``side`` pixels."""
        if self.focal_size is not None:
            return self.focal_size
        return max(1, round(side * math.sqrt(1 - self.ratio)))


@dataclasses.dataclass(frozen=True)
class MaskDraw:
    """The masks of N samples as a few numbers each.

    Attributes:
        size: (H, W) of the images in pixels.
        cell_size: side of a grid cell in pixels.
        focal: bool ``[N]``, focal mask (True) or grid mask.
        channelwise: bool ``[N]``, independent masks for the channels (True) or one shared mask.
        dropped_cells: bool ``[N, C, R, S]``, the grid's cells that fall.
        kept_boxes: int64 ``[N, C, 4]``, top, left, height and width of the focal box in pixels.
        noise_std: float32 ``[N]``, standard deviation of the noise in normalised units.
    """

    size: Tuple[int, int]
    cell_size: int
    focal: Tensor
    channelwise: Tensor
    dropped_cells: Tensor
    kept_boxes: Tensor
    noise_std: Tensor

    def __len__(self) -> int:
        return len(self.focal)

    def keep(self) -> Tensor:
        """The masks M as bool ``[N, C, H, W]``: True where the image stays (section 4.2)."""
        return ~self.hidden()

    def hidden(self) -> Tensor:
        """The complement of :meth:`keep`, bool ``[N, C, H, W]``: True where noise goes."""
        rows, index = self._rows
        return rows[index].view(*self.dropped_cells.shape[:2], *self.size)

    def num_hidden(self) -> Tensor:
        """The number of hidden pixels of each sample, over all channels: int64 ``[N]``."""
        rows, index = self._rows
        rows_of_pixels = self.dropped_cells.shape[1] * self.size[0]
        return rows.sum(dim=1)[index].view(-1, rows_of_pixels).sum(dim=1)

    @functools.cached_property
    def _rows(self) -> Tuple[Tensor, Tensor]:
        """The different rows of pixels that the masks are made of, and where they lie.

        A mask of one channel has one kind of row per row of cells, and one kind that is hidden
        altogether: pixels are looked up instead of computed.

        Returns:
            bool ``[N * C * (R + 1), W]``, and for each row of pixels its place there, int64
            ``[N * C * H]``.
        """
        height, width = self.size
        samples, channels, num_rows, _ = self.dropped_cells.shape
        focal = self.focal[:, None, None]
        y = torch.arange(height, device=focal.device)
        x = torch.arange(width, device=focal.device)
        top, left, box_height, box_width = self.kept_boxes[..., None].unbind(dim=2)
        above_or_below = focal & ((y < top) | (y >= top + box_height))
        beside = focal & ((x < left) | (x >= left + box_width))
        cells = (self.dropped_cells & ~focal[..., None])[..., None]
        rows = cells.expand(*cells.shape[:-1], self.cell_size).flatten(3)[..., :width]
        rows = rows | beside[:, :, None]
        rows = torch.cat([rows, torch.ones_like(rows[:, :, :1])], dim=2)
        first = torch.arange(samples * channels, device=focal.device) * (num_rows + 1)
        index = torch.where(above_or_below, num_rows, y // self.cell_size)
        return rows.flatten(0, 2), (index + first.view(samples, channels, 1)).flatten()

    def to(self, device: Any, non_blocking: bool = False) -> MaskDraw:
        """The same draw on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> MaskDraw:
        """The same draw in page-locked memory, as PyTorch's loaders ask for."""
        return self._map(lambda tensor: tensor.pin_memory())

    def record_stream(self, stream: Any) -> None:
        """As ``Tensor.record_stream``: ``stream`` uses this memory, which another has allocated."""
        for field in dataclasses.fields(self):
            if isinstance(getattr(self, field.name), Tensor):
                getattr(self, field.name).record_stream(stream)

    def __getitem__(self, index: Any) -> MaskDraw:
        """The draws of some of the samples; ``index`` is a slice, a list or a tensor."""
        return self._map(lambda tensor: tensor[index])

    @classmethod
    def cat(cls, draws: Sequence[MaskDraw]) -> MaskDraw:
        """Join draws of the same image and cell size along the samples."""
        first = draws[0]
        if any((d.size, d.cell_size) != (first.size, first.cell_size) for d in draws):
            raise ValueError("MaskDraw.cat needs draws of one image size and one cell size")
        joined: Dict[str, Any] = {
            field.name: torch.cat([getattr(draw, field.name) for draw in draws])
            for field in dataclasses.fields(cls)
            if isinstance(getattr(first, field.name), Tensor)
        }
        return dataclasses.replace(first, **joined)

    def _map(self, function: Any) -> MaskDraw:
        changed: Dict[str, Any] = {
            field.name: function(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if isinstance(getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **changed)


def _check_real(owner: Any, name: str, allowed: Any, description: str) -> None:
    value = getattr(owner, name)
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not allowed(value):
        raise ValueError(f"{name} is {value!r}; it must be {description}")


def _check_pixels(owner: Any, name: str) -> None:
    value = getattr(owner, name)
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of pixels, at least 1")
