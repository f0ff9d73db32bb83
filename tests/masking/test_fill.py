from __future__ import annotations

import pytest
import torch
from scipy import stats

from mscn_plugin.masking import MaskDistribution, fill


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_kept_pixels_are_copied_bit_for_bit(dtype):
    draw = MaskDistribution(ratio=0.3).draw(8, (224, 224))
    images = torch.randn(8, 3, 224, 224).to(dtype)
    masked = fill(images, draw)
    keep = draw.keep()
    assert masked.dtype == dtype
    assert torch.equal(masked[keep], images[keep])
    assert not torch.equal(masked[~keep], images[~keep])


def test_noise_is_gaussian_with_each_samples_standard_deviation():
    quiet, loud = (MaskDistribution(ratio=0.5, noise_std=std) for std in (0.15, 0.30))
    for masks, std in ((quiet, 0.15), (loud, 0.30)):
        draw = masks.draw(8, (224, 224))
        noise = fill(torch.full((8, 3, 224, 224), 9.0), draw)[~draw.keep()]
        assert abs(float(noise.mean())) < 5 * std / len(noise) ** 0.5
        assert float(noise.std()) == pytest.approx(std, rel=0.01)
        assert stats.kstest(noise[:20000].numpy() / std, "norm").pvalue > 1e-4


def test_noise_is_independent_over_pixels_channels_and_samples():
    draw = MaskDistribution(ratio=0.5, channelwise_probability=0, focal_probability=0).draw(
        64, (64, 64)
    )
    noise = torch.where(draw.keep(), torch.nan, fill(torch.zeros(64, 3, 64, 64), draw))

    def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
        both = ~(a.isnan() | b.isnan())
        return float(torch.corrcoef(torch.stack([a[both], b[both]]))[0, 1])

    assert abs(correlation(noise[..., :-1], noise[..., 1:])) < 0.03
    assert abs(correlation(noise[:, 0], noise[:, 1])) < 0.03
    assert abs(correlation(noise[:-1], noise[1:])) < 0.03


def test_without_noise_the_mask_is_zero():
    draw = MaskDistribution(ratio=0.5, noise_std=0).draw(4, (64, 64))
    masked = fill(torch.ones(4, 3, 64, 64), draw)
    assert torch.equal(masked, draw.keep().float())


def test_given_noise_replays_a_batch_exactly():
    draw = MaskDistribution().draw(4, (64, 64))
    images, noise = torch.randn(2, 4, 3, 64, 64)
    masked = fill(images, draw, noise=noise)
    assert torch.equal(masked, fill(images, draw, noise=noise))
    expected = images * draw.keep() + noise * 0.225 * ~draw.keep()
    torch.testing.assert_close(masked, expected)


def test_generator_makes_noise_reproducible():
    draw = MaskDistribution().draw(4, (64, 64))
    images = torch.randn(4, 3, 64, 64)
    first, second = (fill(images, draw, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_refuses_a_draw_of_another_size():
    with pytest.raises(ValueError, match=r"the draw is for \(4, 3, 64, 64\)"):
        fill(torch.zeros(4, 3, 56, 56), MaskDistribution().draw(4, (64, 64)))
