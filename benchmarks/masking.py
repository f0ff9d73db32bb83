"""Filter, masks and noise of one 224-pixel view on one core, sigma 5."""

from __future__ import annotations

import cv2
import kornia
import numpy as np
import torch
from torchvision.transforms import functional as F

from benchmarks.harness import Row, faster, main, milliseconds
from mscn_plugin.masking import MaskDistribution, apply_masks, high_pass

SIGMA, SIZE, CELL = 5.0, 224, 32


def rows() -> list[Row]:
    image = torch.randn(3, SIZE, SIZE)
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    masks = MaskDistribution()

    def torchvision_blur() -> torch.Tensor:
        return F.gaussian_blur(image, [31, 31], [SIGMA, SIGMA])

    def kornia_blur() -> torch.Tensor:
        return kornia.filters.gaussian_blur2d(image[None], (41, 41), (SIGMA, SIGMA))[0]

    def masked(high: torch.Tensor) -> torch.Tensor:
        cells = torch.rand(3, SIZE // CELL, SIZE // CELL) < masks.ratio
        hidden = F.resize(cells.byte(), [SIZE, SIZE], F.InterpolationMode.NEAREST).bool()
        return torch.where(hidden, masks.noise_std * torch.randn_like(high), high)

    def opencv_view() -> np.ndarray:
        high = pixels - cv2.GaussianBlur(pixels, (41, 41), SIGMA)
        cells = (np.random.rand(SIZE // CELL, SIZE // CELL, 3) < masks.ratio).astype(np.uint8)
        hidden = cv2.resize(cells, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
        noise = np.random.normal(0, masks.noise_std, high.shape).astype(np.float32)
        return np.where(hidden, noise, high)

    filters = milliseconds(
        {
            "high_pass": lambda: high_pass(image, SIGMA),
            "torchvision gaussian_blur, 31 taps": torchvision_blur,
            "OpenCV GaussianBlur, 41 taps": lambda: cv2.GaussianBlur(pixels, (41, 41), SIGMA),
            "kornia gaussian_blur2d, 41 taps": kornia_blur,
        },
        repeats=15,
        calls=10,
    )
    views = milliseconds(
        {
            "filter, mask and noise": lambda: apply_masks(
                high_pass(image, SIGMA)[None], masks.sample(1, (SIZE, SIZE))
            ),
            "the same of torchvision's operations": lambda: masked(image - torchvision_blur()),
            "the same with kornia's filter": lambda: masked(image - kornia_blur()),
            "the same with OpenCV's and NumPy's operations": opencv_view,
        },
        repeats=15,
        calls=10,
    )
    first, *others = list(filters)
    rows = faster(filters, first, dict(zip(others, (10, 1 / 1.5, None))))
    first, *others = list(views)
    return rows + faster(views, first, dict(zip(others, (8, None, None))))


if __name__ == "__main__":
    main(rows)
