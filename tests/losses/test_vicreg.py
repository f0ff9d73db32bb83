"""VICReg over masks against its published formulas, in NumPy, and in double precision."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from mscn_plugin.losses.branches import split_by_branch
from mscn_plugin.losses.vicreg import VICRegLoss, vicreg

NUM_IMAGES, DIMENSIONS = 5, 6
PUBLISHED = (25.0, 25.0, 1.0, 1.0, 1e-4)


def two_views(one, other, sim, std, cov, gamma, eps):
    """Of one pair, with loops where the code has products."""

    def spread(z):
        deviation = np.sqrt(z.var(axis=0, ddof=1) + eps)
        return np.maximum(0, gamma - deviation).mean()

    def correlated(z):
        c = np.cov(z, rowvar=False)
        size = len(c)
        return sum(c[i, j] ** 2 for i in range(size) for j in range(size) if i != j) / size

    invariance = np.mean((one - other) ** 2)
    variance = (spread(one) + spread(other)) / 2
    return sim * invariance + std * variance + cov * (correlated(one) + correlated(other))


def brute_force(embeddings, num_masks, settings=PUBLISHED):
    masks = embeddings.detach().double().numpy().reshape(sum(num_masks), NUM_IMAGES, -1)
    branches = masks[: num_masks[0]], masks[num_masks[0] :]
    return float(np.mean([two_views(a, b, *settings) for a in branches[0] for b in branches[1]]))


@pytest.mark.parametrize("num_masks", [[1, 1], [2, 2], [1, 3], [3, 2]])
def test_equals_the_formulas(num_masks):
    embeddings = 0.8 * torch.randn(sum(num_masks) * NUM_IMAGES, DIMENSIONS) + 3
    loss = VICRegLoss(num_masks)(embeddings)
    assert float(loss) == pytest.approx(brute_force(embeddings, num_masks), rel=1e-5)
    settings = (3.0, 5.0, 7.0, 2.0, 0.1)
    names = ("sim_coeff", "std_coeff", "cov_coeff", "gamma", "eps")
    loss = VICRegLoss(num_masks, **dict(zip(names, settings)))(embeddings)
    assert float(loss) == pytest.approx(brute_force(embeddings, num_masks, settings), rel=1e-5)


def test_gradients_are_those_of_finite_differences():
    embeddings = torch.randn(3 * NUM_IMAGES, DIMENSIONS, dtype=torch.float64, requires_grad=True)

    def loss(embeddings):
        branches = split_by_branch(embeddings, [1, 2])
        return vicreg(branches, branches)

    assert torch.autograd.gradcheck(loss, (embeddings,))


def test_each_term_is_zero_where_it_should_be():
    """Same views of dimensions that are spread and uncorrelated cost nothing."""
    columns = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0]
    columns = torch.linalg.qr(torch.cat([torch.ones(8, 1).double(), columns], dim=1))[0][:, 1:5]
    spread = 5 * columns.float()  # orthogonal to a constant, so of mean 0
    assert float(VICRegLoss([1, 2])(spread.repeat(3, 1))) == pytest.approx(0, abs=1e-6)
    point = torch.ones(2 * NUM_IMAGES, DIMENSIONS)
    assert float(VICRegLoss(1)(point)) == pytest.approx(25 * (1 - 1e-2), rel=1e-6)


def test_masks_of_one_view_are_never_compared():
    embeddings = torch.randn(3, NUM_IMAGES, DIMENSIONS)
    terms = {"std_coeff": 0, "cov_coeff": 0}
    embeddings[1] = embeddings[2] = 0
    pulled = VICRegLoss([2, 1], **terms)(embeddings.flatten(0, 1))
    expected = 25 * embeddings[0].square().mean() / 2  # of its pair with branch 1, one of two
    torch.testing.assert_close(pulled, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sim_coeff": -1}, "sim_coeff is -1; it must be at least 0 and finite"),
        ({"std_coeff": "much"}, "std_coeff is 'much'; it must be"),
        ({"cov_coeff": float("nan")}, "cov_coeff is nan; it must be"),
        ({"gamma": 0}, "gamma is 0; it must be a finite number above 0"),
        ({"eps": 0}, "eps is 0; it must be a finite number above 0"),
        ({"num_masks": 0}, "num_masks is 0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        VICRegLoss(**settings)


def test_one_image_has_no_variance():
    with pytest.raises(ValueError, match="VICReg needs at least 2 images"):
        VICRegLoss(2)(torch.randn(4, DIMENSIONS))


def test_vissl_builds_it(registered):
    from classy_vision.losses import build_loss

    embeddings = torch.randn(3 * NUM_IMAGES, DIMENSIONS)
    loss = build_loss({"name": "vicreg_loss", "num_masks": [2, 1], "cov_coeff": 2.0})
    assert loss.num_masks == [2, 1]
    expected = brute_force(embeddings, [2, 1], (25.0, 25.0, 2.0, 1.0, 1e-4))
    assert float(loss([embeddings.bfloat16().float()], None)) == pytest.approx(expected, rel=0.05)
    assert "cov_coeff=2.0" in repr(loss)
