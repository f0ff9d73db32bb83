"""What is random about the masks of one branch (sections 4.3 and 4.4).

Nothing here touches an image: :mod:`mscn_plugin.masking.apply` applies what is sampled.

Shape shorthand: N samples, C color channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mscn_plugin import allowed
from mscn_plugin.masking.kinds import BandMask, CellSize, FocalMask, GridMask, MaskKind
from mscn_plugin.masking.parameters import MaskParameters
from mscn_plugin.types import is_whole

ChannelGroups = Mapping[str, Sequence[int]] | Sequence[Sequence[int]]
"""Channels by the names of their groups, or the groups alone; channels are counted from 0."""

_RATIO = allowed.number("a fraction from 0 to below 1", lambda value: 0 <= value < 1)
_PROBABILITY = allowed.number("a probability from 0 to 1", lambda value: 0 <= value <= 1)


@dataclasses.dataclass(frozen=True)
class MaskDistribution:
    """The settings of the masks of one branch.

    Attributes:
        ratio: mean fraction of grid cells dropped, in [0, 1). Table 5: 0.15 is best, 0.30 was
            used while designing.
        cell_size: side of a grid cell in pixels, at least 1, or a list of height and width.
            Table 6: 28 and 32 are best at 224 px; 32 is section 4.3's. Cells that are not square
            are not in the paper.
        focal_probability: probability in [0, 1] that a sample gets a focal mask instead of a
            grid mask. Table 8: 0.4 is best, 0.2 was used while designing.
        focal_size: side in pixels of the box that a focal mask keeps, or None for the box that
            hides the fraction ``ratio`` of the image: ``round(side * sqrt(1 - ratio))`` per
            axis (207 of 224 px at 0.15). Not stated in the paper, which calls the mask "a crop
            without resizing": this box drops what the grid drops, so that the two kinds of mask
            differ in geometry alone.
        channelwise_probability: probability in [0, 1] that the channels get independent masks
            instead of one shared mask, three of RGB. Table 10: 0.8 to 0.9 is best, 0.7 was used
            while designing.
        noise_std: standard deviation of the Gaussian noise that takes the place of masked pixels,
            in units of normalized pixels, at least 0; 0 makes them zero. Section 4.4 varies it
            between the branches and states no value: the default is the middle of the configs'
            0.15 and 0.30.
        ratio_rounding: "random", a number of cells whose mean is exactly ``ratio``, or "nearest",
            the same whole number in every mask: of 49 cells at 0.30 ("a fixed 30% masking ratio",
            section 4.3) 14 or 15, 14.7 in the mean, or 15. Which is not stated in the paper.
        focal: "box", a square anywhere in the image ("a random crop without resizing", section
            4.3), or "cells", a block of whole cells ("a special case of a random grid mask",
            Figure 3). Which is not stated in the paper; the mean area is the same on a grid that
            divides the image.
        band_probability: probability in [0, 1] that a sample gets a mask of bands, whole rows and
            columns (:class:`~mscn_plugin.masking.kinds.BandMask`), instead of a grid or focal
            mask. Not in the paper: SpecAugment's masks of spectrograms.
        row_bands: number of bands of rows in such a mask, at least 0. Not in the paper: 2 and 2 are
            SpecAugment's for speech.
        column_bands: number of bands of columns.
        row_band_size: largest height in pixels of a band of rows; the mean is half of it. None:
            bands hide the fraction ``ratio`` of the image in the mean, as the other kinds do, so
            that the kinds differ in geometry alone.
        column_band_size: the same of the width of a band of columns.
        channel_groups: groups of channels that are masked as one where masks are channel-wise,
            such as the bands of one sensor, ``{optical: [0, 1, 2], radar: [3, 4]}``, or the lists
            alone; each group has an independent mask. None: each channel is a group. Not in the
            paper, whose images are RGB.

    Raises:
        ValueError: a value is outside of its range; the message starts with the field's name.
    """

    ratio: float = 0.15
    cell_size: CellSize = 32
    focal_probability: float = 0.4
    focal_size: int | None = None
    channelwise_probability: float = 0.8
    noise_std: float = 0.225
    ratio_rounding: str = "random"
    focal: str = "box"
    band_probability: float = 0.0
    row_bands: int = 2
    column_bands: int = 2
    row_band_size: int | None = None
    column_band_size: int | None = None
    channel_groups: ChannelGroups | None = None

    def kinds(self) -> tuple[tuple[MaskKind, float], ...]:
        """The kinds of masks and their probabilities.

        The first one's is not read, since it is what the others leave.
        """
        grid = GridMask(self.ratio, self.cell_size, self.ratio_rounding)
        focal = FocalMask(self.ratio, self.focal_size, self.focal, self.cell_size)
        bands = BandMask(
            self.ratio,
            self.row_bands,
            self.column_bands,
            self.row_band_size,
            self.column_band_size,
        )
        return (
            (grid, 1 - self.focal_probability - self.band_probability),
            (focal, self.focal_probability),
            (bands, self.band_probability),
        )

    def _sampled_kinds(self) -> tuple[tuple[MaskKind, float], ...]:
        """Those that are sampled: another kind than grid and focal where it can be chosen.

        The random numbers of a run without it are then the same.
        """
        first, second, *more = self.kinds()
        return first, second, *(kind for kind in more if kind[1] > 0)

    def __post_init__(self) -> None:
        _RATIO.check("ratio", self.ratio)
        names = [f.name for f in dataclasses.fields(self) if f.name.endswith("_probability")]
        for name in names:
            _PROBABILITY.check(name, getattr(self, name))
        allowed.NOT_NEGATIVE.check("noise_std", self.noise_std)
        if sum(probability for _, probability in self.kinds()[1:]) > 1:  # each checks its settings
            names = [n for n in names if n != "channelwise_probability" and getattr(self, n)]
            values = " and ".join(f"{name} {getattr(self, name)!r}" for name in names)
            raise ValueError(f"{values} are together above 1; each image gets one kind of mask")
        if self.channel_groups is not None and not _are_groups(self.channel_groups):
            self._refuse_groups("such as {optical: [0, 1, 2], radar: [3, 4]}, or the lists alone")

    def _refuse_groups(self, wanted: str) -> None:
        raise ValueError(
            f"channel_groups is {self.channel_groups!r}; it must be null, or groups with every "
            f"channel of an image in exactly one of them, {wanted}"
        )

    def _group_of(self, channels: int) -> Tensor:
        """The number of the group of each channel, int64 ``[C]``."""
        if self.channel_groups is None:
            return torch.arange(channels)
        groups = _lists(self.channel_groups)
        if sum(map(len, groups)) != channels:
            self._refuse_groups(f"and the images have {channels} channels")
        group_of = torch.empty(channels, dtype=torch.int64)
        for number, group in enumerate(groups):
            group_of[list(group)] = number
        return group_of

    def check_size(self, size: Sequence[int]) -> None:
        """Raise ValueError if cells or boxes do not fit in an image of ``size`` (H, W)."""
        for kind, _ in self._sampled_kinds():
            kind.check_size(size)

    def focal_side(self, side: int) -> int:
        """Side in pixels of the focal box along an axis of ``side`` pixels."""
        return FocalMask(self.ratio, self.focal_size).side(side)

    def sample(
        self,
        num_samples: int,
        size: Sequence[int],
        channels: int = 3,
        generator: torch.Generator | None = None,
    ) -> MaskParameters:
        """Sample one mask for each of ``num_samples`` images.

        The order of the random numbers is part of a run: its masks are those of a run that was
        not interrupted (``tests/masking/test_random_order.py``).

        Args:
            num_samples: N, at least 0.
            size: (H, W) in pixels.
            channels: C.
            generator: source of randomness, on the CPU; PyTorch's global one if None, which
                VISSL seeds differently in every loader worker.

        Returns:
            :class:`~mscn_plugin.masking.parameters.MaskParameters` on the CPU.

        Raises:
            ValueError: cells or boxes are larger than the image, or its channels are not those of
                ``channel_groups``.
        """
        self.check_size(size)
        group_of = self._group_of(channels)
        num_groups = int(group_of.max()) + 1
        kinds, probabilities = zip(*self._sampled_kinds())
        choice = torch.rand(num_samples, generator=generator)
        kind = torch.zeros(num_samples, dtype=torch.uint8)
        reached = 0.0
        for number, probability in enumerate(probabilities[1:], start=1):
            kind[(choice >= reached) & (choice < reached + probability)] = number
            reached += probability
        independent = torch.rand(num_samples, generator=generator) < self.channelwise_probability
        sampled = []
        for one in kinds:
            masks = one.sample((num_samples, num_groups), size, generator)[:, group_of]
            by_sample = independent.view(-1, *[1] * (masks.dim() - 1))
            sampled.append(torch.where(by_sample, masks, masks[:, :1]))
        return MaskParameters(
            size=(int(size[0]), int(size[1])),
            kinds=kinds,
            kind=kind,
            channelwise=independent,
            sampled=tuple(sampled),
            noise_std=torch.full((num_samples,), float(self.noise_std)),
        )

    draw = sample
    """The method's earlier name."""


def _lists(groups: ChannelGroups) -> list[Sequence[int]]:
    return list(groups.values() if isinstance(groups, Mapping) else groups)


def _are_groups(groups: object) -> bool:
    """Whether they are lists that have each channel from 0 to the last one once."""
    if not isinstance(groups, (Mapping, list, tuple)):
        return False
    lists = _lists(groups)
    if not all(isinstance(group, (list, tuple)) and group for group in lists):
        return False
    channels = [channel for group in lists for channel in group]
    return (
        all(map(is_whole, channels))
        and bool(channels)
        and sorted(channels) == list(range(len(channels)))
    )
