from __future__ import annotations

import pytest
import torch
from scipy import stats

from mscn_plugin.masking import MaskDistribution, MaskParameters, apply_masks


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_kept_pixels_are_copied_bit_for_bit(dtype):
    sampled = MaskDistribution(ratio=0.3).sample(8, (224, 224))
    images = torch.randn(8, 3, 224, 224).to(dtype)
    masked = apply_masks(images, sampled)
    keep = sampled.keep()
    assert masked.dtype == dtype
    assert torch.equal(masked[keep], images[keep])
    assert not torch.equal(masked[~keep], images[~keep])


def test_noise_is_gaussian_with_each_samples_standard_deviation():
    quiet, loud = (MaskDistribution(ratio=0.5, noise_std=std) for std in (0.15, 0.30))
    for masks, std in ((quiet, 0.15), (loud, 0.30)):
        sampled = masks.sample(8, (224, 224))
        noise = apply_masks(torch.full((8, 3, 224, 224), 9.0), sampled)[~sampled.keep()]
        assert abs(float(noise.mean())) < 5 * std / len(noise) ** 0.5
        assert float(noise.std()) == pytest.approx(std, rel=0.01)
        assert stats.kstest(noise[:20000].numpy() / std, "norm").pvalue > 1e-4


def test_noise_is_independent_over_pixels_channels_and_samples():
    sampled = MaskDistribution(ratio=0.5, channelwise_probability=0, focal_probability=0).sample(
        64, (64, 64)
    )
    noise = torch.where(sampled.keep(), torch.nan, apply_masks(torch.zeros(64, 3, 64, 64), sampled))

    def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
        both = ~(a.isnan() | b.isnan())
        return float(torch.corrcoef(torch.stack([a[both], b[both]]))[0, 1])

    assert abs(correlation(noise[..., :-1], noise[..., 1:])) < 0.03
    assert abs(correlation(noise[:, 0], noise[:, 1])) < 0.03
    assert abs(correlation(noise[:-1], noise[1:])) < 0.03


def test_without_noise_the_mask_is_zero():
    sampled = MaskDistribution(ratio=0.5, noise_std=0).sample(4, (64, 64))
    masked = apply_masks(torch.ones(4, 3, 64, 64), sampled)
    assert torch.equal(masked, sampled.keep().float())


def test_given_noise_replays_a_batch_exactly():
    sampled = MaskDistribution().sample(4, (64, 64))
    images, noise = torch.randn(2, 4, 3, 64, 64)
    masked = apply_masks(images, sampled, noise=noise)
    assert torch.equal(masked, apply_masks(images, sampled, noise=noise))
    expected = images * sampled.keep() + noise * 0.225 * ~sampled.keep()
    torch.testing.assert_close(masked, expected)


def test_generator_makes_noise_reproducible():
    sampled = MaskDistribution().sample(4, (64, 64))
    images = torch.randn(4, 3, 64, 64)
    first, second = (
        apply_masks(images, sampled, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("given_noise", [False, True])
def test_several_masks_of_each_image_are_masks_of_the_repeated_images(given_noise):
    sampled = MaskDistribution(ratio=0.3).sample(12, (64, 64))
    images = torch.randn(4, 3, 64, 64)
    noise = torch.randn(12, 3, 64, 64) if given_noise else None
    masked, expected = (
        apply_masks(x, sampled, torch.Generator().manual_seed(3), noise)
        for x in (images, torch.cat([images] * 3))
    )
    assert torch.equal(masked, expected)


def test_given_noise_and_new_noise_are_scaled_alike():
    """The device's way, noise for every pixel, and the CPU's way, for hidden pixels alone."""
    loud, quiet = (MaskDistribution(ratio=0.5, noise_std=std) for std in (0.5, 0.1))
    sampled = MaskParameters.cat([loud.sample(8, (224, 224)), quiet.sample(8, (224, 224))])
    images = torch.zeros(16, 3, 224, 224)
    new, given = (
        apply_masks(images, sampled),
        apply_masks(images, sampled, noise=torch.randn(16, 3, 224, 224)),
    )
    for sample in range(16):
        hidden = sampled.hidden()[sample]
        std = 0.5 if sample < 8 else 0.1
        for masked in (new[sample][hidden], given[sample][hidden]):
            assert float(masked.std()) == pytest.approx(std, rel=0.05)


def test_gradients_flow_through_what_stays():
    sampled = MaskDistribution(ratio=0.5).sample(2, (64, 64))
    images = torch.randn(2, 3, 64, 64, requires_grad=True)
    apply_masks(images, sampled).sum().backward()
    assert torch.equal(images.grad, sampled.keep().float())


def test_an_empty_batch_stays_empty():
    sampled = MaskDistribution().sample(0, (64, 64))
    assert apply_masks(torch.zeros(0, 3, 64, 64), sampled).shape == (0, 3, 64, 64)


def test_refuses_masks_of_another_size():
    with pytest.raises(ValueError, match=r"images of shape \(3, 64, 64\)"):
        apply_masks(torch.zeros(4, 3, 56, 56), MaskDistribution().sample(4, (64, 64)))
    sampled, images = MaskDistribution().sample(4, (64, 64)), torch.zeros(4, 3, 64, 64)
    with pytest.raises(ValueError, match="a batch of images"):
        apply_masks(images[0], sampled)
    with pytest.raises(ValueError, match=r"noise has shape \(1, 3, 64, 64\); .* \(4, 3, 64, 64\)"):
        apply_masks(images, sampled, noise=images[:1])
    with pytest.raises(TypeError, match="floating-point images, got torch.uint8"):
        apply_masks(images.byte(), sampled)
    with pytest.raises(ValueError, match="are 6 masks, not a multiple of 4 images"):
        apply_masks(torch.zeros(4, 3, 64, 64), MaskDistribution().sample(6, (64, 64)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_masks_are_written_one_by_one_with_the_noise_of_all(dtype):
    """The noise of a seed stays: it was drawn for all masks at once and scattered in one go."""
    images = torch.randn(3, 3, 40, 40).to(dtype)
    masks = MaskDistribution(cell_size=8).sample(4 * 3, (40, 40))
    masked = apply_masks(images, masks, torch.Generator().manual_seed(5))
    counts = masks.num_hidden()
    values = torch.empty(int(counts.sum())).normal_(generator=torch.Generator().manual_seed(5))
    values *= masks.noise_std.repeat_interleave(counts)
    expected = images.repeat(4, 1, 1, 1).masked_scatter_(masks.hidden(), values.to(dtype))
    assert torch.equal(masked, expected)
