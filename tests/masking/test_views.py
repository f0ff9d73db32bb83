from __future__ import annotations

import pytest
import torch

from mscn_plugin.masking import MaskedViews

SETTINGS = {"ratio": [0.1, 0.4], "cell_size": 8, "focal_probability": [0.2, 0.6], "noise_std": 0.3}


def batch_of(view_0, view_1):
    """The same views as samples of VISSL's loader."""
    return [
        {"data": [a, b], "label": [0, 0], "data_valid": [1, 1], "data_idx": [i, i]}
        for i, (a, b) in enumerate(zip(view_0, view_1))
    ]


@pytest.mark.parametrize("num_masks", [1, 2, [1, 3]])
def test_equals_filter_and_collator(registered, num_masks):
    from mscn_plugin.transforms.collate import mscn_multimask_collator
    from mscn_plugin.transforms.transforms import MSCNHighPass

    views = torch.randn(2, 30, 3, 64, 64)
    filtered = [[MSCNHighPass(1.25)(image) for image in view] for view in views]
    torch.manual_seed(4)
    (expected,) = mscn_multimask_collator(batch_of(*filtered), num_masks, **SETTINGS)["data"]
    torch.manual_seed(4)
    branches = MaskedViews(num_masks, sigma=1.25, **SETTINGS)(*views)
    counts = [num_masks] * 2 if isinstance(num_masks, int) else num_masks
    assert [branch.shape for branch in branches] == [(k, 30, 3, 64, 64) for k in counts]
    observed = torch.cat([branch.flatten(0, 1) for branch in branches])
    torch.testing.assert_close(observed, expected, atol=1e-5, rtol=0)


def test_settings_are_per_branch():
    views = MaskedViews(num_masks=4, sigma=0, ratio=[0.0, 0.5], cell_size=8, noise_std=0)
    shares = [(branch == 0).float().mean() for branch in views(*torch.ones(2, 64, 3, 64, 64))]
    assert shares[0] == 0
    assert float(shares[1]) == pytest.approx(0.5, abs=0.03)


def test_a_generator_repeats_masks_and_noise():
    module, views = MaskedViews(cell_size=8), torch.randn(2, 4, 3, 64, 64)
    first, again, other = (
        module(*views, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])
    before = torch.get_rng_state()
    module(*views, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_keeps_the_views_dtype(dtype):
    branches = MaskedViews(cell_size=8)(*torch.randn(2, 3, 3, 64, 64).to(dtype))
    assert {branch.dtype for branch in branches} == {dtype}


def test_views_may_differ_in_size_and_a_batch_be_empty():
    module = MaskedViews(num_masks=[1, 2], cell_size=8)
    branches = module(torch.randn(2, 3, 64, 64), torch.randn(2, 3, 32, 48))
    assert [tuple(b.shape) for b in branches] == [(1, 2, 3, 64, 64), (2, 2, 3, 32, 48)]
    assert module(*torch.randn(2, 0, 3, 64, 64))[1].shape == (2, 0, 3, 64, 64)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_generator_repeats_masks_and_noise_on_a_cuda_device():
    module, views = MaskedViews(cell_size=8), torch.randn(2, 4, 3, 64, 64, device="cuda")
    first, again = (module(*views, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert all(map(torch.equal, first, again))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_masks": 0}, "num_masks is 0"),
        ({"sigma": -1}, "sigma is -1"),
        ({"ratio": [0.1, 0.2, 0.3]}, "ratio is .* 2 branches"),
        ({"rati": 0.1}, "rati is not a mask setting"),
    ],
)
def test_refuses_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        MaskedViews(**settings)


def test_refuses_what_are_not_two_batches_of_views():
    module = MaskedViews(cell_size=8)
    with pytest.raises(ValueError, match=r"\(2, 3, 64, 64\) and \(3, 3, 64, 64\)"):
        module(torch.randn(2, 3, 64, 64), torch.randn(3, 3, 64, 64))
    with pytest.raises(ValueError, match=r"\(3, 64, 64\)"):
        module(*torch.randn(2, 3, 64, 64))
    with pytest.raises(TypeError, match="floating-point"):
        module(*torch.ones(2, 2, 3, 64, 64, dtype=torch.uint8))


def test_integer_views_are_refused_without_a_filter_too():
    with pytest.raises(TypeError, match=r"floating-point images, got torch\.uint8"):
        MaskedViews(sigma=0, cell_size=8)(*torch.zeros(2, 4, 3, 64, 64, dtype=torch.uint8))
