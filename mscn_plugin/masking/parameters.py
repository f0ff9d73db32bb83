"""The sampled parameters of masks, and the pixels that they hide.

Shape shorthand: N samples, C color channels, H, W height and width in pixels.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mscn_plugin.masking.kinds import FocalMask, GridMask, MaskKind


@dataclasses.dataclass(frozen=True)
class MaskParameters:
    """The masks of N samples as a few numbers each.

    Attributes:
        size: (H, W) of the images in pixels.
        kinds: the kinds of masks that there may be.
        kind: uint8 ``[N]``, which of ``kinds`` each sample's mask is.
        channelwise: bool ``[N]``, independent masks for the channels (True) or one shared mask.
        sampled: for each of ``kinds`` the parameters of such a mask, ``[N, C, ...]``.
        noise_std: float32 ``[N]``, standard deviation of the noise in normalized units.
    """

    size: tuple[int, int]
    kinds: tuple[MaskKind, ...]
    kind: Tensor
    channelwise: Tensor
    sampled: tuple[Tensor, ...]
    noise_std: Tensor

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def channels(self) -> int:
        """C."""
        return self.sampled[0].shape[1]

    def keep(self) -> Tensor:
        """The masks M as bool ``[N, C, H, W]``: True where the image stays (section 4.2)."""
        return ~self.hidden()

    def hidden(self) -> Tensor:
        """The complement of :meth:`keep`, bool ``[N, C, H, W]``: True where noise goes."""
        rows, index = self._rows
        return rows[index].view(len(self), self.channels, *self.size)

    def num_hidden(self) -> Tensor:
        """The number of hidden pixels of each sample, over all channels: int64 ``[N]``."""
        rows, index = self._rows
        return rows.sum(dim=1)[index].view(-1, self.channels * self.size[0]).sum(dim=1)

    @functools.cached_property
    def _rows(self) -> tuple[Tensor, Tensor]:
        """The different rows of pixels of all masks, and where they are: a look-up is quick.

        Returns:
            bool ``[N * C * P, W]`` with P rows of each channel's mask, and for each row of pixels
            its place there, int64 ``[N * C * H]``.
        """
        of_kinds = [
            kind.hidden_rows(sampled, self.size) for kind, sampled in zip(self.kinds, self.sampled)
        ]
        rows, index, offset = *of_kinds[0], of_kinds[0][0].shape[2]
        for number, (more, places) in enumerate(of_kinds[1:], start=1):
            index = torch.where((self.kind == number)[:, None, None], places + offset, index)
            offset += more.shape[2]
        rows = torch.cat([rows for rows, _ in of_kinds], dim=2)
        first = torch.arange(len(self) * self.channels, device=rows.device) * offset
        return rows.flatten(0, 2), (index + first.view(-1, self.channels, 1)).flatten()

    def of(self, kind: type[MaskKind]) -> tuple[Tensor, Tensor]:
        """Which samples are masked by a class of :attr:`kinds`, and its parameters for all."""
        number = [type(one) for one in self.kinds].index(kind)
        return self.kind == number, self.sampled[number]

    @property
    def focal(self) -> Tensor:
        """bool ``[N]``: whether the mask is a focal one."""
        return self.of(FocalMask)[0]

    @property
    def dropped_cells(self) -> Tensor:
        """bool ``[N, C, R, S]``, the cells that a grid mask drops."""
        return self.of(GridMask)[1]

    @property
    def kept_boxes(self) -> Tensor:
        """int64 ``[N, C, 4]``: top, left, height and width in pixels of a focal mask's box."""
        return self.of(FocalMask)[1]

    def to(self, device: str | torch.device, non_blocking: bool = False) -> MaskParameters:
        """The same masks on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> MaskParameters:
        """The same masks in page-locked memory, as PyTorch's loaders ask for."""
        return self._map(lambda tensor: tensor.pin_memory())

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """As ``Tensor.record_stream``: ``stream`` uses this memory, which another has allocated."""
        for tensor in (self.kind, self.channelwise, *self.sampled, self.noise_std):
            tensor.record_stream(stream)

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> MaskParameters:
        """The masks of some of the samples; ``index`` is a slice, a list or a tensor."""
        return self._map(lambda tensor: tensor[index])

    @classmethod
    def cat(cls, parts: Sequence[MaskParameters]) -> MaskParameters:
        """Join masks of the same image size and kinds along the samples."""
        first = parts[0]
        if any((part.size, part.kinds) != (first.size, first.kinds) for part in parts):
            raise ValueError(f"{cls.__name__}.cat needs masks of one image size and the same kinds")
        return first._map(lambda *tensors: torch.cat(tensors), *parts[1:])

    def _map(self, function: Callable[..., Tensor], *others: MaskParameters) -> MaskParameters:
        """``function`` of each tensor, and of the same tensor of the others."""
        parts = (self, *others)
        changed: dict[str, Any] = {
            name: function(*(getattr(part, name) for part in parts))
            for name in ("kind", "channelwise", "noise_std")
        }
        sampled = tuple(function(*tensors) for tensors in zip(*(part.sampled for part in parts)))
        return dataclasses.replace(self, sampled=sampled, **changed)
