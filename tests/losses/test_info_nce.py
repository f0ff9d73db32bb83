from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from vissl.config import AttrDict

NUM_IMAGES, DIMENSIONS, TEMPERATURE = 6, 16, 0.2


@pytest.fixture
def loss_class(registered):
    from classy_vision.losses import build_loss

    def build(**settings):
        return build_loss({"name": "mscn_info_nce_loss", "temperature": TEMPERATURE, **settings})

    return build


def brute_force(embeddings: torch.Tensor, num_masks, negatives: str) -> float:
    """The loss term by term in NumPy, from its definition."""
    z = embeddings.detach().double().numpy()
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    num_images = len(z) // sum(num_masks)
    branch_of = [0] * num_masks[0] + [1] * num_masks[1]
    sets = z.reshape(len(branch_of), num_images, -1)

    def similarity(a, b):
        return math.exp(float(a @ b) / TEMPERATURE)

    terms = []
    for anchor_set, positive_set in itertools.permutations(range(len(sets)), 2):
        if branch_of[anchor_set] == branch_of[positive_set]:
            continue
        pools = [anchor_set, positive_set] if negatives == "pair" else range(len(sets))
        for image in range(num_images):
            anchor = sets[anchor_set][image]
            positive = similarity(anchor, sets[positive_set][image])
            others = sum(
                similarity(anchor, sets[pool][other])
                for pool in pools
                for other in range(num_images)
                if other != image
            )
            terms.append(-math.log(positive / (positive + others)))
    return float(np.mean(terms))


@pytest.mark.parametrize("negatives", ["pair", "all"])
@pytest.mark.parametrize("num_masks", [1, 2, [1, 3], [3, 2]])
def test_equals_the_definition(loss_class, num_masks, negatives):
    counts = num_masks if isinstance(num_masks, list) else [num_masks] * 2
    embeddings = torch.randn(sum(counts) * NUM_IMAGES, DIMENSIONS)
    loss = loss_class(num_masks=num_masks, negatives=negatives)(embeddings, None)
    assert float(loss) == pytest.approx(brute_force(embeddings, counts, negatives), abs=1e-5)


def vissl_loss(embeddings: torch.Tensor) -> torch.Tensor:
    """VISSL's own SimCLR loss of two views."""
    from vissl.losses.simclr_info_nce_loss import SimclrInfoNCELoss

    buffers = {
        "world_size": 1,
        "embedding_dim": embeddings.shape[1],
        "effective_batch_size": len(embeddings),
    }
    config = AttrDict({"temperature": TEMPERATURE, "buffer_params": buffers})
    return SimclrInfoNCELoss(config)(embeddings, None)


@pytest.mark.parametrize("negatives", ["pair", "all"])
def test_one_mask_is_vissls_simclr_loss_gradients_too(loss_class, negatives):
    ours = torch.randn(2 * NUM_IMAGES, DIMENSIONS, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    loss = loss_class(num_masks=1, negatives=negatives)(ours, None)
    reference = vissl_loss(theirs)
    torch.testing.assert_close(loss, reference, atol=1e-5, rtol=0)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=0)


def test_pair_is_vissls_loss_averaged_over_pairs(loss_class):
    ours = torch.randn(5 * NUM_IMAGES, DIMENSIONS, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    sets = theirs.split(NUM_IMAGES)
    pairs = [torch.cat([sets[i], sets[j]]) for i in (0, 1) for j in (2, 3, 4)]
    reference = torch.stack([vissl_loss(pair) for pair in pairs]).mean()
    loss = loss_class(num_masks=[2, 3])(ours, None)
    torch.testing.assert_close(loss, reference, atol=1e-5, rtol=0)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=0)


def test_all_negatives_make_the_loss_larger(loss_class):
    embeddings = torch.randn(4 * NUM_IMAGES, DIMENSIONS)
    pair, every = (loss_class(negatives=n)(embeddings, None) for n in ("pair", "all"))
    assert every > pair


def test_is_computed_in_float32_under_autocast(loss_class):
    embeddings = torch.randn(4 * NUM_IMAGES, DIMENSIONS)
    loss = loss_class()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(embeddings, None)
        half = loss(embeddings.bfloat16(), None)
    assert inside.dtype == half.dtype == torch.float32
    assert torch.equal(inside, loss(embeddings, None))


def test_large_similarities_do_not_overflow(registered):
    from mscn_plugin.losses.info_nce import info_nce

    z = F.normalize(torch.randn(4, DIMENSIONS), dim=1).requires_grad_()
    branches = [[z], [z * 1.0]]
    loss = info_nce(branches, branches, first=0, temperature=1e-3)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(z.grad).all()


def test_gradient_is_right_numerically(loss_class):
    loss = loss_class(num_masks=[1, 2], negatives="all").double()
    z = torch.randn(9, 5)
    z.requires_grad_()
    value = loss(z, None)
    value.backward()
    direction = torch.randn_like(z)
    step = 1e-2
    with torch.no_grad():
        slope = (loss(z + step * direction, None) - loss(z - step * direction, None)) / (2 * step)
    assert float(slope) == pytest.approx(float((z.grad * direction).sum()), abs=2e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "temperature is 0; it must be a finite number above 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"num_masks": 0}, "num_masks is 0; it must be a whole number of at least 1"),
        ({"num_masks": [1, 2, 3]}, r"num_masks is \[1, 2, 3\]"),
        ({"num_masks": 1.5}, "num_masks is 1.5"),
        ({"negatives": "some"}, "negatives is 'some'; it must be one of"),
    ],
)
def test_refuses_wrong_settings(loss_class, settings, message):
    with pytest.raises(ValueError, match=message):
        loss_class(**settings)


def test_refuses_embeddings_that_the_masks_do_not_divide(loss_class):
    with pytest.raises(ValueError, match="collator and loss must agree"):
        loss_class(num_masks=2)(torch.randn(6, 4), None)


def test_refuses_a_single_image(loss_class):
    with pytest.raises(ValueError, match="at least 2 images"):
        loss_class(num_masks=1)(torch.randn(2, 4), None)
