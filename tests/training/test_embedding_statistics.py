from __future__ import annotations

import itertools
from types import SimpleNamespace

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


@pytest.mark.usefixtures("registered")
def test_autocast_around_it_changes_nothing():
    """In half precision the product over a collapsed batch is too large, and gives inf."""
    embeddings = torch.randn(1, 64).expand(600, 64)
    expected = statistics(embeddings, [1, 1])
    with torch.autocast("cpu", dtype=torch.float16):
        assert statistics(embeddings, [1, 1]) == expected


def task(loss, output, num_masks, **sample):
    """As much of a task as the hook looks at."""
    train = SimpleNamespace(
        COLLATE_FUNCTION="mscn_multimask_collator", COLLATE_FUNCTION_PARAMS={"num_masks": num_masks}
    )
    return SimpleNamespace(
        config=SimpleNamespace(DATA=SimpleNamespace(TRAIN=train)),
        loss=loss,
        last_batch=SimpleNamespace(model_output=output, sample=sample),
    )


@pytest.mark.usefixtures("registered")
def test_momentum_methods_compare_what_they_compare():
    """MoCo's queries with its keys; BYOL's projections, and beside them its predictions."""
    from mscn_plugin.losses.byol_loss import BYOLLoss
    from mscn_plugin.training.embedding_statistics import embeddings_of

    output = torch.randn(6, 3)
    assert list(embeddings_of(task(object(), output, [1, 2]))) == [("", output, [1, 2])]

    queries, keys = torch.randn(4, 3), torch.randn(4, 3)
    moco = task(SimpleNamespace(key=keys), queries, 1, data_momentum=[None])
    ((prefix, embeddings, num_masks),) = embeddings_of(moco)
    assert (prefix, num_masks) == ("", [1, 1])
    assert torch.equal(embeddings, torch.cat([queries, keys]))

    for target_input, target_masks in (("masked", [1, 2]), ("unmasked", [1, 1])):
        loss = BYOLLoss(num_masks=[1, 2], target_input=target_input)
        loss.projections = torch.randn(4 * sum(target_masks), 3)
        predictions = torch.randn(12, 3)
        target, online = embeddings_of(task(loss, predictions, [1, 2]))
        assert target == ("", loss.projections, target_masks)
        assert online == ("prediction_", predictions, [1, 2])
