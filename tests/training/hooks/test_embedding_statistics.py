from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch


def statistics(embeddings, num_masks):
    from mscn_plugin.training.hooks.embedding_statistics import embedding_statistics

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
    covariance = np.cov(z.T)
    expected = {
        "std": z.std(axis=0, ddof=1).mean(),
        "positive_similarity": cosines[:, same].mean(),
        "negative_similarity": cosines[:, ~same].mean(),
        "dimensions": np.trace(covariance) ** 2 / np.trace(covariance @ covariance),
    }
    observed = statistics(embeddings, num_masks)
    for name, value in expected.items():
        assert observed[name] == pytest.approx(value, abs=1e-5), name


@pytest.mark.usefixtures("registered")
def test_shows_collapse_and_spread():
    collapsed = statistics(torch.randn(1, 64).expand(200, 64), [1, 1])
    assert collapsed["std"] == pytest.approx(0, abs=1e-6)
    assert collapsed["negative_similarity"] == pytest.approx(1, abs=1e-5)
    assert collapsed["dimensions"] == pytest.approx(0, abs=1e-3)
    spread = statistics(torch.randn(2000, 64), [1, 1])
    assert spread["std"] == pytest.approx(64**-0.5, rel=0.02)
    assert spread["negative_similarity"] == pytest.approx(0, abs=0.01)
    assert spread["dimensions"] == pytest.approx(64, rel=0.05)
    line = statistics(torch.randn(200, 1) * torch.randn(64), [1, 1])
    assert line["dimensions"] == pytest.approx(1, abs=1e-3)
    assert line["std"] > 0.5 * 64**-0.5  # which a point has not


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("shape", [(8, 1), (8, 300), (300, 8), (4, 4)])
@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30])
def test_constant_embeddings_have_finite_statistics(shape, value):
    observed = statistics(torch.full(shape, value), [1, 1])
    assert all(np.isfinite(v) for v in observed.values()), observed
    assert observed["std"] < 1e-6
    assert observed["dimensions"] < 0.5


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
    from mscn_plugin.losses.byol import BYOLLoss
    from mscn_plugin.training.hooks.embedding_statistics import embeddings_of

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


@pytest.fixture
def warned(tmp_path, caplog):
    """Run the hook over an encoder's steps; returns what it warns of, by iteration."""
    from mscn_plugin.training.hooks.embedding_statistics import EmbeddingStatisticsHook

    def run(encoder, iterations=200, images=32, loss=None, start=0):
        caplog.clear()
        hook, random = EmbeddingStatisticsHook(), torch.Generator().manual_seed(1)
        for iteration in range(start, iterations, 5):
            contents = torch.randn(images, 16, generator=random)
            noises = torch.randn(4 * images, 16, generator=random)
            views = contents.repeat(4, 1) + 0.5 * noises
            if loss is not None:
                loss.projections = views
            now = task(loss or object(), encoder(views).detach(), 2)
            now.train, now.iteration, now.hooks = True, iteration, []
            now.config.LOG_FREQUENCY = 5
            now.checkpoint_folder = str(tmp_path)
            now.max_iteration, now.num_train_phases, now.ahead = 200, 8, 0
            hook.on_loss_and_meter(now)
        return [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]

    return run


def trained(collapses, steps=150):
    """An encoder that was trained to make views similar, and only if told so to nothing else."""
    encoder = torch.nn.Sequential(
        torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 24), torch.nn.ReLU()
    )
    encoder = torch.nn.Sequential(encoder, torch.nn.Linear(24, 16))
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.5, momentum=0.9)
    for _ in range(steps):
        images = torch.randn(64, 16)
        a, b = (
            torch.nn.functional.normalize(encoder(images + 0.5 * torch.randn(64, 16)), dim=1)
            for _ in range(2)
        )
        loss = -(a * b).sum(dim=1).mean()
        if not collapses:
            loss = torch.nn.functional.cross_entropy(a @ b.T / 0.2, torch.arange(64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return encoder.eval()


@pytest.mark.usefixtures("registered")
def test_a_healthy_run_is_not_warned_of(warned):
    encoder = trained(collapses=False)
    assert warned(encoder) == []
    untrained = trained(collapses=False, steps=0)
    for first_steps in (range(0, 100), range(0, 20)):
        assert warned(untrained, iterations=len(first_steps)) == []


@pytest.mark.usefixtures("registered")
def test_collapse_to_a_point_is_said_once(warned):
    for encoder in (trained(collapses=True), lambda views: torch.ones(len(views), 16)):
        (message,) = warned(encoder)
        assert message.startswith("iteration 5: the embedding has collapsed to a point")


@pytest.mark.usefixtures("registered")
def test_collapse_to_a_line_is_said(warned):
    encoder = trained(collapses=False)
    last = encoder[1]
    with torch.no_grad():
        last.weight.copy_(torch.outer(torch.randn(16), last.weight[0]))
        last.bias.copy_(0 * last.bias)
    (message,) = warned(encoder)
    assert "the embedding has collapsed to a line: it is spread in 1.00 of 16 dim" in message


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(("dimensions", "warnings"), [(1.028, 0), (1.001, 1)])
def test_a_run_that_learns_with_little_beside_one_dimension_is_not_warned_of(dimensions, warnings):
    """What mscn/byol_quickstart shows in its second half, and what a line with some noise does."""
    from mscn_plugin.training.hooks.embedding_statistics import WINDOW, CollapseWatch

    watch, values = CollapseWatch(), {"positive_similarity": 0.7, "negative_similarity": 0.25}
    values |= {"std": 0.084, "dimensions": dimensions}
    looks = [watch.look(values, even=0.125, settled=True, late=True) for _ in range(WINDOW)]
    assert len([text for look in looks for text in look]) == warnings


@pytest.mark.usefixtures("registered")
def test_a_network_that_does_not_tell_images_apart_is_warned_of(warned):
    def branch_and_noise(views):
        branches = torch.tensor([1.0, -1.0]).repeat_interleave(len(views) // 2)
        return torch.randn(len(views), 16) + branches[:, None]

    (message,) = warned(branch_and_noise)
    assert "the embedding does not tell images apart: views of one image are as similar" in message


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("output", [0.0, 1.0])
def test_a_dead_predictor_is_warned_of(warned, output):
    from mscn_plugin.losses.byol import BYOLLoss

    dead = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 16))
    torch.nn.init.constant_(dead[0].bias, -1e4)  # no unit is ever active
    torch.nn.init.constant_(dead[2].bias, output)
    (message,) = warned(dead, loss=BYOLLoss(num_masks=2))
    assert "the output of BYOL's predictor has collapsed to a point" in message


@pytest.mark.usefixtures("registered")
def test_a_predictor_may_be_near_a_point_for_its_first_steps(warned):
    from mscn_plugin.losses.byol import BYOLLoss

    constant = torch.ones(1, 16)
    first = warned(lambda views: constant.expand(len(views), 16), 45, loss=BYOLLoss(num_masks=2))
    assert first == []


@pytest.mark.usefixtures("registered")
def test_a_collapse_that_comes_back_is_said_again():
    from mscn_plugin.training.hooks.embedding_statistics import CollapseWatch

    watch = CollapseWatch()
    healthy = {"positive_similarity": 0.8, "negative_similarity": 0.0, "dimensions": 9.0}

    def said(std):
        return len(list(watch.look({**healthy, "std": std}, even=0.25, settled=True, late=True)))

    assert [said(std) for std in (0.01, 0.01, 0.01, 0.2, 0.01, 0.01, 0.2)] == [0, 1, 0, 0, 0, 1, 0]
