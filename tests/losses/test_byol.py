"""BYOL's loss and target network against NumPy and float64, and as a VISSL loss."""

from __future__ import annotations

import copy
import math
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mscn_plugin.errors import RunError
from mscn_plugin.losses.byol import byol, ema_update, target_momentum

NUM_IMAGES, DIMENSIONS = 5, 12


def sets(num_masks, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (NUM_IMAGES, DIMENSIONS)
    return [[torch.randn(shape, generator=generator) for _ in range(k)] for k in num_masks]


def brute_force(predictions, projections):
    """Pair by pair in NumPy, from the definition."""

    def distance(a, b):
        return 2 - 2 * float(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b))

    total = 0.0
    for branch, other in ((0, 1), (1, 0)):
        pairs = [
            distance(p[i].double().numpy(), t[i].double().numpy())
            for p in predictions[branch]
            for t in projections[other]
            for i in range(NUM_IMAGES)
        ]
        total += float(np.mean(pairs))
    return total


@pytest.mark.parametrize("online", [[1, 1], [2, 2], [1, 3]])
@pytest.mark.parametrize("target", [[1, 1], [2, 2], [3, 2]])
def test_equals_the_definition(online, target):
    predictions, projections = sets(online), sets(target, seed=1)
    loss = byol(predictions, projections)
    assert float(loss) == pytest.approx(brute_force(predictions, projections), abs=1e-5)


def test_from_zero_to_eight():
    (vectors,) = sets([1])[0]
    same = [[vectors], [vectors]]
    opposite = [[-3 * vectors], [-vectors]]
    assert float(byol(same, [[2 * vectors], [vectors]])) == pytest.approx(0, abs=1e-6)
    assert float(byol(opposite, same)) == pytest.approx(8, abs=1e-6)


def test_masks_of_one_view_are_never_compared():
    """A prediction and a projection of the same branch meet in no term."""
    predictions, projections = sets([2, 1]), sets([2, 1], seed=1)
    for mask in (*predictions[0], *projections[0]):
        mask.requires_grad_()
    zero = torch.zeros(NUM_IMAGES, DIMENSIONS)
    loss = byol([predictions[0], [zero]], [projections[0], [zero]])
    loss.backward()
    assert float(loss) == 4
    assert all(not mask.grad.any() for mask in predictions[0])


def test_no_gradient_reaches_the_target():
    predictions, projections = sets([2, 2]), sets([2, 2], seed=1)
    for mask in [m for side in (predictions, projections) for branch in side for m in branch]:
        mask.requires_grad_()
    byol(predictions, projections).backward()
    assert all(mask.grad is None for branch in projections for mask in branch)
    assert all(mask.grad.abs().sum() > 0 for branch in predictions for mask in branch)


def test_the_momentum_is_the_papers():
    """From 0.996 at the first update to 1 at the last (A.1), half-way in the middle."""
    steps = 1001
    momenta = [target_momentum(k, steps, 0.996) for k in range(steps)]
    assert momenta[0] == 0.996
    assert momenta[-1] == 1.0
    assert momenta[500] == pytest.approx(0.998)
    assert momenta == sorted(momenta)
    for k in (1, 250, 999):
        expected = 1 - 0.004 * (math.cos(math.pi * k / 1000) + 1) / 2
        assert momenta[k] == pytest.approx(expected, abs=1e-15)
    assert target_momentum(0, 1, 0.996) == 0.996


def test_without_an_average_it_is_simsiam_four_times():
    """SimSiam's loss is minus the mean of both cosines, with the network itself for a target."""
    predictions, projections = sets([1, 1]), sets([1, 1], seed=1)
    (first,), (second,) = predictions
    first.requires_grad_()
    byol(predictions, projections).backward()
    ours, first.grad = first.grad, None
    pairs = ((first, projections[1][0]), (second, projections[0][0]))
    simsiam = -sum(F.cosine_similarity(p, z).mean() for p, z in pairs) / 2
    simsiam.backward()
    torch.testing.assert_close(ours, 4 * first.grad)
    assert {target_momentum(k, 7, 0.0, 0.0) for k in range(7)} == {0.0}
    target, online = torch.randn(7, 3), torch.randn(7, 3)
    ema_update([target], [online], 0.0)
    torch.testing.assert_close(target, online)


def test_an_ema_update_is_the_moving_average():
    target, online = torch.randn(7, 3), torch.randn(7, 3)
    expected = 0.9 * target.double() + 0.1 * online.double()
    ema_update([target], [online], 0.9)
    torch.testing.assert_close(target.double(), expected, atol=1e-7, rtol=0)


def test_ema_updates_do_not_drift():
    """10,000 updates with a momentum near 1 leave a target alone that has arrived."""
    target = torch.randn(1000)
    online = target.clone()
    for _ in range(10_000):
        ema_update([target], [online], 1 - 3e-8)
    assert torch.equal(target, online)


@pytest.fixture
def loss_class(registered):
    from classy_vision.losses import build_loss

    return lambda **settings: build_loss({"name": "byol_loss", **settings})


class Model(nn.Module):
    """The shape of VISSL's model: a trunk and heads, the last of them the predictor."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8))
        self.heads = nn.ModuleList([nn.Linear(8, 4), nn.Linear(4, 4)])
        self.head_names = ["mlp", "mlp"]

    def forward(self, images):
        output = self.trunk(images)
        for head in self.heads:
            output = head(output)
        return [output]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_momentum": 1}, "target_momentum is 1; it must be at least 0 and below 1"),
        ({"target_momentum_end": 0.5}, "target_momentum_end is 0.5; it must be from target_mom"),
        ({"target_momentum": "fast"}, "target_momentum is 'fast'"),
        ({"target_input": "clean"}, "target_input is 'clean'; it must be one of"),
        ({"num_masks": 0}, "num_masks is 0"),
    ],
)
def test_wrong_settings_are_refused(loss_class, settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        loss_class(**settings)


def test_the_target_is_trunk_and_projector(loss_class):
    model, loss = Model(), loss_class()
    assert not list(loss.parameters())
    loss.build_target(model)
    online = model.state_dict()
    target = loss.target.state_dict()
    assert set(target) == {name for name in online if not name.startswith("heads.1")}
    assert all(torch.equal(online[name], target[name]) for name in target)
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert {p.data_ptr() for p in loss.parameters()}.isdisjoint(
        p.data_ptr() for p in model.parameters()
    )


def test_the_target_has_the_models_synchronized_normalization(loss_class):
    """VISSL converts the model on a GPU before the target is made of it."""
    loss = loss_class()
    loss.build_target(nn.SyncBatchNorm.convert_sync_batchnorm(Model()))
    assert isinstance(loss.target.trunk[1], nn.SyncBatchNorm)


def test_the_target_shares_the_process_group(loss_class, tmp_path):
    """VISSL gives the layers a group of the node's ranks, and a group cannot be copied."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", world_size=1, rank=0
    )
    try:
        group = torch.distributed.new_group([0])
        model, loss = nn.SyncBatchNorm.convert_sync_batchnorm(Model(), group), loss_class()
        loss.build_target(model)
        assert loss.target.trunk[1].process_group is group
        assert loss.target.trunk[1].weight is not model.trunk[1].weight
    finally:
        torch.distributed.destroy_process_group()


def test_running_statistics_are_the_targets_own(loss_class):
    """Of its own passes in training, untouched in evaluation, never averaged with the model's."""
    model, loss = Model(), loss_class()
    loss.build_target(model)
    reference = copy.deepcopy(loss.target.trunk)
    batches = torch.randn(3, 10, 6)
    for batch in batches:
        loss.project(batch)
        reference(batch)
    model.trunk[1].running_mean += 7
    loss.update_target(model, 0, 10)
    assert torch.equal(loss.target.trunk[1].running_mean, reference[1].running_mean)
    assert torch.equal(loss.target.trunk[1].running_var, reference[1].running_var)
    loss.eval()
    loss.project(batches[0])
    assert torch.equal(loss.target.trunk[1].running_mean, reference[1].running_mean)


def test_state_waits_for_the_target(loss_class):
    """VISSL restores the loss before the target can be built."""
    model, loss = Model(), loss_class()
    loss.build_target(model)
    loss.project(torch.randn(10, 6))
    for parameter in loss.target.parameters():
        parameter.add_(1)
    state = copy.deepcopy(loss.state_dict())
    restored = loss_class()
    restored.load_state_dict(state)
    assert not restored.state_dict()
    restored.build_target(model)
    assert state.keys() == restored.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in restored.state_dict().items())


def test_without_its_task_it_says_which_one_it_needs(loss_class):
    """By no assert, which ``python -O`` leaves out."""
    loss, model = loss_class(), Model()
    for use in (
        lambda: loss.project(torch.randn(10, 6)),
        lambda: loss.update_target(model, 0, 10),
        lambda: loss(torch.randn(10, 4), None),
    ):
        with pytest.raises(
            RunError, match=r"byol_loss has no .* config\.TRAINER\.TASK_NAME must be"
        ):
            use()


@pytest.mark.parametrize("target_input", ["masked", "unmasked"])
def test_pairs_predictions_with_the_other_branch(loss_class, target_input):
    loss = loss_class(num_masks=[2, 1], target_input=target_input)
    loss.build_target(Model())
    predictions = torch.randn(3 * NUM_IMAGES, 4)
    loss.projections = torch.randn((3 if target_input == "masked" else 2) * NUM_IMAGES, 4)
    online, target = predictions.split(NUM_IMAGES), loss.projections.split(NUM_IMAGES)
    first = 2 if target_input == "masked" else 1
    value = brute_force([online[:2], online[2:]], [target[:first], target[first:]])
    assert float(loss(predictions, None)) == pytest.approx(value, abs=1e-5)
    with pytest.raises(ValueError, match="the loss got 16 embeddings, which 3 masks"):
        loss(torch.randn(16, 4), None)
