from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch


def statistics(embeddings, num_masks):
    from mscn_plugin.training.embedding_statistics import embedding_statistics

    return {k: float(v) for k, v in embedding_statistics(embeddings, num_masks).items()}


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("num_masks", [[1, 1], [2, 3]])
def test_equals_the_definition(num_masks):
    images = 7
    embeddings = torch.randn(sum(num_masks) * images, 5)
    z = embeddings.double().numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    sets = z.reshape(sum(num_masks), images, 5)
    pairs = itertools.product(range(num_masks[0]), range(num_masks[0], sum(num_masks)))
    cosines = np.stack([sets[i] @ sets[j].T for i, j in pairs])
    same = np.eye(images, dtype=bool)
    expected = {
        "std": z.std(axis=0, ddof=1).mean(),
        "positive_similarity": cosines[:, same].mean(),
        "negative_similarity": cosines[:, ~same].mean(),
    }
    observed = statistics(embeddings, num_masks)
    for name, value in expected.items():
        assert observed[name] == pytest.approx(value, abs=1e-5), name


@pytest.mark.usefixtures("registered")
def test_shows_collapse_and_spread():
    collapsed = statistics(torch.randn(1, 64).expand(200, 64), [1, 1])
    assert collapsed["std"] == pytest.approx(0, abs=1e-6)
    assert collapsed["negative_similarity"] == pytest.approx(1, abs=1e-5)
    spread = statistics(torch.randn(2000, 64), [1, 1])
    assert spread["std"] == pytest.approx(64**-0.5, rel=0.02)
    assert spread["negative_similarity"] == pytest.approx(0, abs=0.01)
