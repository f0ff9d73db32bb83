from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from mscn_plugin.masking import high_pass


def scipy_high_pass(images: torch.Tensor, sigma: float) -> np.ndarray:
    x = images.double().numpy()
    axes_sigma = (0,) * (x.ndim - 2) + (sigma, sigma)
    return x - ndimage.gaussian_filter(x, axes_sigma, mode="mirror")


@pytest.mark.parametrize("sigma", [1, 3, 5, 7, 9, 1.25])
@pytest.mark.parametrize(
    "size", [(224, 224), (57, 113), (56, 56), (40, 97), (9, 17), (3, 2), (1, 5), (1, 1)]
)
def test_agrees_with_scipy(sigma, size):
    images = 3 * torch.randn(2, 3, *size)
    filtered = high_pass(images, sigma)
    assert filtered.shape == images.shape
    np.testing.assert_allclose(filtered.numpy(), scipy_high_pass(images, sigma), atol=1e-4)


def test_removes_constants_and_commutes_with_normalization():
    images = torch.rand(1, 3, 64, 64)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    assert high_pass(torch.full((3, 64, 64), 7.0), 5).abs().max() < 1e-4
    torch.testing.assert_close(
        high_pass((images - mean) / std, 5), high_pass(images, 5) / std, atol=1e-4, rtol=0
    )


def test_images_without_values_have_their_shape():
    """Models are asked so for the shapes of their features."""
    images = torch.empty(2, 3, 40, 97, dtype=torch.float16, device="meta")
    filtered = high_pass(images, 5)
    assert filtered.is_meta
    assert (filtered.shape, filtered.dtype) == (images.shape, images.dtype)


def test_half_precision_is_filtered_in_float32():
    images = torch.randn(1, 3, 64, 64).half()
    expected = high_pass(images.float(), 5)
    for dtype in (torch.float16, torch.bfloat16):
        filtered = high_pass(images.to(dtype), 5)
        assert filtered.dtype == dtype
        reference = high_pass(images.to(dtype).float(), 5)
        torch.testing.assert_close(filtered, reference.to(dtype), atol=0, rtol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(high_pass(images.float(), 5), expected, atol=0, rtol=0)


def test_images_of_all_sizes_share_their_weights():
    """Detection meets a thousand sizes; a copy to a GPU each time would make the host wait."""
    from mscn_plugin.masking.high_pass import _blocks

    device = torch.device("cpu")
    blocks = [b for size in range(640, 1334) for b in _blocks(size, 5.0, device)]
    assert len(blocks) > 10_000
    assert len({id(b.weights) for b in blocks}) < 250


@pytest.fixture
def fast_matmul():
    """The process allows bfloat16 and TF32 in float32 products."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def test_keeps_its_digits_where_the_process_allows_fewer(fast_matmul):
    images = 3 * torch.randn(8, 3, 224, 224)
    expected = scipy_high_pass(images, 5)
    np.testing.assert_allclose(high_pass(images, 5).numpy(), expected, atol=1e-5)
    assert torch.get_float32_matmul_precision() == "medium"


def test_a_filter_first_used_in_inference_serves_training():
    with torch.inference_mode():
        high_pass(torch.randn(3, 31, 33), 1.75)
    images = torch.randn(3, 31, 33, requires_grad=True)
    high_pass(images, 1.75).square().sum().backward()
    assert float(images.grad.abs().sum()) > 0


def test_takes_views_of_any_memory_layout():
    images = torch.randn(4, 3, 70, 90)
    for layout in (images.to(memory_format=torch.channels_last), images[::2], images.mT):
        np.testing.assert_allclose(
            high_pass(layout, 3).numpy(), scipy_high_pass(layout, 3), atol=1e-4
        )
    assert high_pass(torch.zeros(0, 3, 8, 8), 2).shape == (0, 3, 8, 8)


def test_sigma_zero_is_no_filter():
    images = torch.randn(3, 8, 8)
    assert torch.equal(high_pass(images, 0), images)


def test_images_of_any_rank_and_gradients():
    images = torch.randn(2, 2, 3, 20, 24, dtype=torch.float64, requires_grad=True)
    filtered = high_pass(images, 2)
    torch.testing.assert_close(filtered[1, 0, 2], high_pass(images[1, 0, 2], 2), atol=1e-5, rtol=0)
    filtered.sum().backward()
    assert torch.isfinite(images.grad).all()


@pytest.mark.parametrize("sigma", [-1, float("nan"), float("inf"), "5", None, True])
def test_refuses_sigmas_that_are_none(sigma):
    with pytest.raises(ValueError, match="sigma is"):
        high_pass(torch.zeros(3, 8, 8), sigma)


def test_refuses_what_is_no_image():
    with pytest.raises(TypeError, match="floating-point"):
        high_pass(torch.zeros(3, 8, 8, dtype=torch.uint8), 1)
    with pytest.raises(ValueError, match="H, W"):
        high_pass(torch.zeros(8), 1)


@pytest.mark.parametrize("sigma", [1e-3, 0.1, 0.2, 0.24])
def test_refuses_filters_that_leave_nothing_of_an_image(sigma):
    with pytest.raises(ValueError, match=r"must be 0, for no filter, or at least 0\.25 pixels"):
        high_pass(torch.zeros(3, 8, 8), sigma)
    assert float(high_pass(torch.randn(3, 8, 8), 0.25).abs().max()) > 0


class _Filter(torch.nn.Module):
    def forward(self, images):
        return high_pass(images, 1.3)


def test_an_exported_filter_and_one_after_it_filter():
    """What is made while a program is traced holds no numbers, and is not kept for later images."""
    images = torch.randn(2, 3, 41, 43)
    exported = torch.export.export(_Filter(), (images,), strict=False).module()
    expected = scipy_high_pass(images, 1.3)
    for filtered in (exported(images), high_pass(images, 1.3)):
        np.testing.assert_allclose(filtered.numpy(), expected, atol=1e-5)
