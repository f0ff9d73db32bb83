"""Every benchmark config through VISSL's launcher: its trunk, and the rates of A.2 and A.3."""

from __future__ import annotations

import json
import math

import pytest
import torch

from mscn_plugin.vissl.command_line import configs

NAMES = [name.split("/")[-1] for name in configs() if name.startswith("mscn/benchmark/")]
FROZEN = [name for name in NAMES if "frozen" in name or "neighbor" in name]
LINEAR = [name for name in NAMES if "linear" in name]
TUNED = [name for name in NAMES if "percent" in name]


@pytest.fixture
def arguments(checkpoints, image_folder):
    """What VISSL's tool gets to run a config on a run of seconds."""

    def of(name, method, *overrides):
        from mscn_plugin.evaluation.pretraining_run import PretrainingRun

        return [
            f"config=mscn/benchmark/{name}",
            *(() if "quick" in name else ("+config/mscn/machine=cpu",)),
            *PretrainingRun.of(checkpoints[method]).overrides(name),
            f"config.MSCN.DATA={image_folder}",
            "config.DATA.NUM_DATALOADER_WORKERS=0",
            "config.CHECKPOINT.DIR=evaluation",
            *overrides,
        ]

    return of


@pytest.fixture
def evaluate(run_tool, arguments, checkpoints, tmp_path):
    """Run a config on a run of seconds; returns the trunk before it, and its checkpoint."""

    def run(name, method, *overrides):
        run_tool(*arguments(name, method, *overrides))
        before = torch.load(checkpoints[method] / "checkpoint.torch", weights_only=True)
        after = tmp_path / "evaluation" / "checkpoint.torch"
        return trunk(before), torch.load(after, weights_only=True) if after.is_file() else None

    return run


ONE_STEP = (  # an epoch
    "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=256",
    "config.DATA.TRAIN.DROP_LAST=False",
    "config.METERS.accuracy_list_meter.topk_values=[1]",  # four classes
    "config.LOG_FREQUENCY=1",
    "config.CHECKPOINT.CHECKPOINT_FREQUENCY=100",
)
FOUR_EPOCHS = ("config.TEST_EVERY_NUM_EPOCH=4", "config.OPTIMIZER.num_epochs=4")


def trunk(checkpoint):
    weights = checkpoint["classy_state_dict"]["base_model"]["model"]["trunk"]
    return {name.replace("base_model.", "", 1): tensor for name, tensor in weights.items()}


def rates(folder):
    """The learning rates that VISSL logged, by iteration; trunk's and head's if they differ."""
    lines = (folder / "evaluation" / "stdout.json").read_text().splitlines()
    return {step["iter"]: step["lr"] for step in map(json.loads, lines)}


def short_schedule(name):
    """Milestones of the four epochs that are run here: VISSL wants as many as the values have."""
    key = "config.OPTIMIZER.param_schedulers.{}.milestones=[{}]"
    if name in TUNED:
        return [key.format(name, "1,2") for name in ("lr", "lr_head")]
    return [key.format("lr", "1,2,3")] if "imagenet" not in name and "quick" not in name else []


def groups(checkpoint):
    """Size and weight decay of each of the optimizer's groups that holds parameters."""
    states = checkpoint["classy_state_dict"]["optimizer"]["optim"]["param_groups"]
    return [(len(g["params"]), g["weight_decay"]) for g in states if g["params"]]


def schedule(name, epochs, iteration):
    """The rates of A.2, A.3 and of VISSL (Table 3) after so many of the epochs, at batch 256."""
    done = iteration / epochs
    if "imagenet" in name or "quick" in name:
        if "linear" in name:
            return (1 + math.cos(math.pi * done)) / 2
        factor = 0.2 ** ((iteration >= 12) + (iteration >= 16))
        return [0.002 * factor, 0.5 * factor]
    steps = {"places205": (4, 8, 12), "inaturalist18": (24, 48, 72)}[name.split("_")[0]]
    return 0.01 * 0.1 ** sum(iteration >= step for step in steps)


EPOCHS = {
    "imagenet1k_linear": 100,
    "imagenet1k_1percent": 20,
    "imagenet1k_10percent": 20,
    "places205_linear": 14,
    "inaturalist18_linear": 84,
    "quick_linear": 20,
    "quick_10percent": 20,
}


@pytest.mark.parametrize("name", [*LINEAR, *TUNED])
def test_the_schedule_is_the_papers(compose, arguments, name):
    """The rates of every epoch, by VISSL's own optimizer, parameter groups and schedulers."""
    from classy_vision.optim import build_optimizer, build_optimizer_schedulers
    from vissl.models import build_model
    from vissl.optimizers import get_optimizer_param_groups

    config = compose(*arguments(name, "simclr", *ONE_STEP))
    epochs = EPOCHS[name]
    assert config.OPTIMIZER.num_epochs == epochs
    model = build_model(config.MODEL, config.OPTIMIZER)
    optimizer = build_optimizer(config.OPTIMIZER)
    schedulers = build_optimizer_schedulers(config.OPTIMIZER)
    groups = get_optimizer_param_groups(model, config.MODEL, config.OPTIMIZER, schedulers)
    optimizer.set_param_groups(groups)
    for iteration in range(epochs):
        where = iteration / epochs
        optimizer.on_epoch(where=where)
        optimizer.step(where=where)
        assert optimizer.options_view.lr == pytest.approx(schedule(name, epochs, iteration))


@pytest.mark.process
@pytest.mark.parametrize("name", [*LINEAR, *TUNED])
def test_vissl_trains_what_the_paper_trains(evaluate, tmp_path, name):
    """What is frozen, weight decay on what, which classifier; and the rates are those applied.

    A frozen trunk is at the end what it was loaded as: here it is BYOL's.
    """
    method = "byol" if name in LINEAR else "simclr"
    before, checkpoint = evaluate(name, method, *ONE_STEP, *FOUR_EPOCHS, *short_schedule(name))
    after, seen = trunk(checkpoint), rates(tmp_path)
    first = schedule(name, 4, 0)
    # VISSL's log has five digits.
    assert seen.keys() == set(range(4))
    assert seen[0] == pytest.approx(first, abs=6e-6)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    if name in LINEAR:
        assert not moved  # statistics of batch normalization included
        decay = 1e-6 if "imagenet" in name or "quick" in name else 5e-4
        assert groups(checkpoint) == [(2, pytest.approx(decay))]  # weight and bias
    else:
        assert moved == set(before)
        assert all(decay == 0 for _, decay in groups(checkpoint))
        trained = sum(name.endswith(("weight", "bias")) for name in before) + 2
        assert sum(number for number, _ in groups(checkpoint)) == trained
    classifier = checkpoint["classy_state_dict"]["base_model"]["model"]["heads"]
    assert {name: tuple(tensor.shape) for name, tensor in classifier.items()} == {
        "0.clf.0.weight": (4, 32),
        "0.clf.0.bias": (4,),
    }


@pytest.mark.process
@pytest.mark.parametrize("name", TUNED)
def test_fine_tuning_starts_from_byols_trunk(evaluate, name):
    """With a rate of 0 it leaves the weights as they were loaded."""
    standing = short_schedule(name)
    for key in ("lr", "lr_head"):
        scheduler = f"config.OPTIMIZER.param_schedulers.{key}"
        standing += [f"{scheduler}.auto_lr_scaling.auto_scale=False"]
        standing += [f"{scheduler}.values=[0,0,0]"]
    before, checkpoint = evaluate(name, "byol", *ONE_STEP, *FOUR_EPOCHS, *standing)
    after = trunk(checkpoint)
    assert before.keys() == after.keys()
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for name, tensor in before.items():
        if not name.endswith(statistics):
            assert torch.equal(tensor, after[name]), name


@pytest.mark.process
@pytest.mark.parametrize(("name", "method"), zip(FROZEN, ("simclr", "byol"), strict=True))
def test_frozen_configs_evaluate_features(evaluate, tmp_path, name, method):
    evaluate(name, method)
    (line,) = (tmp_path / "evaluation" / "metrics.json").read_text().splitlines()
    results = json.loads(line)["test_frozen_features"]
    assert {"knn"} <= set(results) <= {"knn", "svm"}
    assert 0 <= results["knn"]["top_1"]["res5avg"] <= results["knn"]["top_5"]["res5avg"] == 100
