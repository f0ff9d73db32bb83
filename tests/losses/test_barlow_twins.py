"""Barlow Twins over masks: VISSL's loss at one mask, the mean over pairs at more."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from mscn_plugin.losses.barlow_twins import MSCNBarlowTwinsLoss, barlow_twins
from mscn_plugin.losses.branches import split_by_branch

NUM_IMAGES, DIMENSIONS = 7, 6


def vissls(embeddings, lambda_=0.0051, scale_loss=0.024):
    from vissl.losses.barlow_twins_loss import BarlowTwinsCriterion

    return BarlowTwinsCriterion(lambda_, scale_loss, embeddings.shape[1])(embeddings)


def test_one_mask_is_vissls_loss_gradients_too(registered):
    ours = (2 * torch.randn(2 * NUM_IMAGES, DIMENSIONS) + 1).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    loss, expected = MSCNBarlowTwinsLoss(1)(ours), vissls(theirs)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=0)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=0)


def brute_force(embeddings, num_masks, lambda_, scale_loss):
    """Pair by pair and entry by entry, in NumPy."""
    masks = embeddings.detach().double().numpy().reshape(sum(num_masks), NUM_IMAGES, -1)
    losses = []
    for one in masks[: num_masks[0]]:
        for other in masks[num_masks[0] :]:
            both = np.concatenate([one, other])
            a, b = ((z - both.mean(0)) / np.sqrt(both.var(0) + 1e-5) for z in (one, other))
            loss = 0.0
            for i in range(DIMENSIONS):
                for j in range(DIMENSIONS):
                    c = np.mean(a[:, i] * b[:, j])
                    loss += (c - 1) ** 2 if i == j else lambda_ * c**2
            losses.append(scale_loss * loss)
    return float(np.mean(losses))


@pytest.mark.parametrize("num_masks", [[1, 1], [2, 2], [1, 3], [3, 2]])
def test_equals_the_mean_over_pairs(num_masks):
    embeddings = torch.randn(sum(num_masks) * NUM_IMAGES, DIMENSIONS)
    for settings in ((0.0051, 0.024), (0.3, 2.0)):
        loss = MSCNBarlowTwinsLoss(num_masks, *settings)(embeddings)
        assert float(loss) == pytest.approx(brute_force(embeddings, num_masks, *settings), rel=1e-5)


def test_gradients_are_those_of_finite_differences():
    embeddings = torch.randn(3 * NUM_IMAGES, 4, dtype=torch.float64, requires_grad=True)

    def loss(embeddings):
        return barlow_twins(split_by_branch(embeddings, [2, 1]), 0.1, 1.0)

    assert torch.autograd.gradcheck(loss, (embeddings,))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lambda_": 0}, "lambda_ is 0; it must be a finite number above 0"),
        ({"scale_loss": float("inf")}, "scale_loss is inf; it must be a finite number above 0"),
        ({"num_masks": [1]}, "num_masks is [1]"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        MSCNBarlowTwinsLoss(**settings)


def test_one_image_has_no_correlations():
    with pytest.raises(ValueError, match="Barlow Twins needs at least 2 images"):
        MSCNBarlowTwinsLoss(2)(torch.randn(4, DIMENSIONS))
