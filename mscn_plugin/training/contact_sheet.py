"""Pictures side by side under headings: the views that a network sees, and the method's steps."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mscn_plugin.data.decoding import to_rgb

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIN_TILE = 112
"""Side in pixels to which smaller views are magnified, by a whole number."""
CLIPPED_SHARE = 0.02
"""Share of the values that is drawn as black or white; edges are far above the rest."""
_DPI = 100
_MARGIN, _GAP, _GAP_OF_GROUPS = 14, 3, 16  # pixels
_TITLE, _SUBTITLE, _CAPTION_LINE = 24, 19, 17  # heights of lines of text, pixels
_CHARACTER = 5.9  # width of a character of the caption, pixels


class Group(NamedTuple):
    """Neighboring columns under one title; a subtitle for each of them, which may be empty."""

    title: str
    subtitles: Sequence[str]


def stretched(views: Tensor) -> np.ndarray:
    """Views as pixels; the value 0, "no information" after the high-pass filter, is mid-gray.

    Args:
        views: ``[N, 3, H, W]``, of any range; of all of their values together, the
            :data:`CLIPPED_SHARE` largest magnitudes are clipped.

    Returns:
        uint8 ``[N, h, w, 3]``, sides magnified to at least :data:`MIN_TILE` pixels.
    """
    views = views.float()
    scale = np.quantile(views.abs().numpy(), 1 - CLIPPED_SHARE)
    pixels = (0.5 + views / (2 * max(float(scale), 1e-6))).clamp(0, 1)
    factor = max(1, -(-MIN_TILE // views.shape[-1]))
    for axis in (-1, -2):
        pixels = pixels.repeat_interleave(factor, dim=axis)
    return (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def fitted(picture: Image.Image, height: int, width: int) -> np.ndarray:
    """A whole picture within a tile, on white: uint8 ``[height, width, 3]``."""
    picture = to_rgb(picture)
    scale = min(height / picture.height, width / picture.width)
    size = max(1, round(scale * picture.width)), max(1, round(scale * picture.height))
    tile = Image.new("RGB", (width, height), "white")
    tile.paste(
        picture.resize(size, Image.Resampling.LANCZOS),
        ((width - size[0]) // 2, (height - size[1]) // 2),
    )
    return np.asarray(tile)


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]], groups: Sequence[Group], caption: str = ""
) -> Figure:
    """Set tiles side by side, each of its pixels one pixel of the figure.

    Args:
        rows: of tiles, uint8 ``[h, w, 3]``, all of one size.
        groups: the columns, from the left to the right.
        caption: text below, which is wrapped.
    """
    from matplotlib.figure import Figure  # half a second, which a training's start need not wait

    height, width = rows[0][0].shape[:2]
    lefts: list[int] = []
    x = _MARGIN
    for group in groups:
        lefts += [x + place * (width + _GAP) for place in range(len(group.subtitles))]
        x = lefts[-1] + width + _GAP_OF_GROUPS
    total_width = x - _GAP_OF_GROUPS + _MARGIN
    subtitled = any(any(group.subtitles) for group in groups)
    head = _MARGIN // 2 + _TITLE + (_SUBTITLE if subtitled else 0)
    lines = textwrap.wrap(caption, int((total_width - 2 * _MARGIN) / _CHARACTER))
    below = (_MARGIN // 2 + _CAPTION_LINE * len(lines)) if lines else 0
    body = len(rows) * (height + _GAP) - _GAP
    total_height = head + body + below + _MARGIN
    figure = Figure(figsize=(total_width / _DPI, total_height / _DPI), dpi=_DPI, facecolor="white")

    def text(x: float, y: float, words: str, **options: Any) -> None:
        figure.text(x / total_width, 1 - y / total_height, words, va="center", **options)

    column = 0
    for group in groups:
        count = len(group.subtitles)
        left, right = lefts[column], lefts[column + count - 1] + width
        text((left + right) / 2, _MARGIN // 2 + _TITLE / 2, group.title, ha="center", size=10)
        for place, subtitle in enumerate(group.subtitles, start=column):
            center = lefts[place] + width / 2
            y = _MARGIN // 2 + _TITLE + _SUBTITLE / 2 - 3
            text(center, y, subtitle, ha="center", size=8, color="0.35")
        column += count
    for place, row in enumerate(rows):
        top = head + place * (height + _GAP)
        for left, tile in zip(lefts, row):
            figure.figimage(tile, xo=left, yo=total_height - top - height, origin="upper")
    for place, line in enumerate(lines):
        y = head + body + _MARGIN // 2 + _CAPTION_LINE * (place + 0.5)
        text(_MARGIN, y, line, ha="left", size=8, color="0.35")
    return figure


def pixels_of(figure: Figure) -> np.ndarray:
    """A figure as it is drawn: uint8 ``[height, width, 3]``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
