"""What holds for any embeddings, whatever their number; drawn by hypothesis."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("registered")
counts = st.integers(1, 3)


def info_nce_by_hand(z, num_masks, temperature, negatives):
    """Section 4.5 as loops over pairs and images, in NumPy."""
    masks = z.reshape(sum(num_masks), -1, z.shape[1])
    branches = masks[: num_masks[0]], masks[num_masks[0] :]
    batch = masks.shape[1]
    losses = []
    for a in branches[0]:
        for b in branches[1]:
            for one, other in ((a, b), (b, a)):
                for i in range(batch):
                    others = [one, other] if negatives == "pair" else list(masks)
                    scores = [
                        v[j] @ one[i] / temperature for v in others for j in range(batch) if j != i
                    ]
                    positive = one[i] @ other[i] / temperature
                    losses.append(np.logaddexp.reduce([positive, *scores]) - positive)
    return np.mean(losses)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 5),
    counts,
    counts,
    st.integers(2, 6),
    st.floats(0.05, 2),
    st.sampled_from(["pair", "all"]),
    st.integers(0, 2**31),
)
def test_info_nce_is_the_loops(batch, k0, k1, dims, temperature, negatives, seed):
    from mscn_plugin.losses.info_nce import MSCNInfoNCELoss

    embeddings = torch.randn((k0 + k1) * batch, dims, generator=torch.Generator().manual_seed(seed))
    loss = MSCNInfoNCELoss(temperature, [k0, k1], negatives)(embeddings)
    z = embeddings.double().numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    expected = info_nce_by_hand(z, [k0, k1], temperature, negatives)
    assert float(loss) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), counts, counts, st.floats(0.1, 50), st.integers(0, 2**31))
def test_lengths_of_embeddings_and_order_of_images_do_not_matter(batch, k0, k1, scale, seed):
    from mscn_plugin.losses.byol import BYOLLoss
    from mscn_plugin.losses.info_nce import MSCNInfoNCELoss

    generator = torch.Generator().manual_seed(seed)
    output = torch.randn((k0 + k1) * batch, 4, generator=generator)
    targets = torch.randn(len(output), 4, generator=generator)
    order = torch.randperm(batch, generator=generator)
    place = (torch.arange(k0 + k1)[:, None] * batch + order).flatten()
    byol = BYOLLoss([k0, k1])

    def losses(output, targets):
        byol.projections = targets
        return [float(MSCNInfoNCELoss(0.2, [k0, k1])(output)), float(byol(output))]

    expected = losses(output, targets)
    assert losses(scale * output, targets / scale) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert losses(output[place], targets[place]) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("sizes", [(4, 6), (1, 4), (4, 1)])
def test_branches_of_other_images_are_refused(sizes):
    from mscn_plugin.losses.barlow_twins import barlow_twins
    from mscn_plugin.losses.byol import byol
    from mscn_plugin.losses.info_nce import MSCNLoss, info_nce
    from mscn_plugin.losses.vicreg import vicreg

    branches = [[torch.randn(size, 8)] for size in sizes]
    one, other = sizes
    shapes = rf"shapes \[\({one}, 8\)\], \[\({other}, 8\)\].*; all must be \[B, D\]"
    for refused in (
        lambda: MSCNLoss()(*branches),
        lambda: info_nce(branches, branches, 0, 0.2),
        lambda: byol(branches, branches),
        lambda: barlow_twins(branches, 0.005, 1.0),
        lambda: vicreg(branches, branches),
    ):
        with pytest.raises(ValueError, match=shapes):
            refused()
