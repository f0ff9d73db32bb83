"""The shipped configs: what they say, how they differ, and the rates that VISSL applies."""

from __future__ import annotations

import copy
import functools
import math
from pathlib import Path

import pytest
import torch

from mscn_plugin.config.composed import composed
from mscn_plugin.vissl.command_line import configs

NAMES = [name[len("mscn/") :] for name in configs() if name.count("/") == 1]
CPU = "+config/mscn/machine=cpu"


@pytest.fixture(scope="module")
def written(registered):
    """A composed config by its name below ``mscn``."""
    parts = functools.cache(composed)
    return lambda name: copy.deepcopy(parts(f"mscn/{name}"))


def differences(first, second, path=()):
    """Paths at which two configurations differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        return {
            difference
            for key in first.keys() | second.keys()
            for difference in differences(first.get(key), second.get(key), (*path, key))
        }
    return set() if first == second else {".".join(path)}


@pytest.mark.parametrize("name", [name for name in NAMES if "arrays" not in name])
def test_every_config_of_pictures_composes(compose, batch_folder, name):
    machine = [] if "quickstart" in name else [CPU]
    config = compose(f"config=mscn/{name}", *machine, f"config.MSCN.DATA={batch_folder}")
    assert config.TRAINER.TASK_NAME == "mscn_task"
    features = 128 if "quickstart" in name else {"convnext_tiny": 768}.get(name, 2048)
    assert config.MODEL.HEAD.PARAMS[0][1]["dims"][0] == features
    assert Path(config.CHECKPOINT.DIR).is_absolute()


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("simclr", {"mscn_info_nce_loss.num_masks", "mscn_info_nce_loss.negatives"}),
        ("byol", {"byol_loss.num_masks"}),
    ],
)
def test_the_unmasked_baselines_differ_in_views_alone(written, name, loss):
    different = differences(written(name), written(f"{name}_unmasked"))
    assert {path for path in different if "COLLATE_FUNCTION" not in path} == {
        "DATA.TRAIN.TRANSFORMS",
        "DATA.TEST.TRANSFORMS",
        *(f"LOSS.{key}" for key in loss),
        "CHECKPOINT.DIR",
    }


def test_the_unmasked_baselines_have_no_filter(compose, written, batch_folder):
    high_pass = [{"name": "MSCNHighPass", "sigma": 5.0}]
    data = (CPU, f"config.MSCN.DATA={batch_folder}")
    byols = compose("config=mscn/byol", "+config/mscn/augmentations=byol", *data)
    for masked, name in ((written("simclr"), "simclr"), (byols, "byol")):
        unmasked = written(f"{name}_unmasked")
        for split in ("TRAIN", "TEST"):
            transforms = unmasked["DATA"][split]["TRANSFORMS"]
            assert masked["DATA"][split]["TRANSFORMS"] == transforms + high_pass
    overlay = "+config/mscn/augmentations=symmetric_unmasked"
    alone = compose("config=mscn/byol_unmasked", overlay, *data).DATA.TRAIN.TRANSFORMS
    assert written("byol")["DATA"]["TRAIN"]["TRANSFORMS"] == alone + high_pass


@pytest.mark.parametrize("name", ["quickstart", "byol_quickstart"])
def test_the_unmasked_quickstart_differs_in_filter_and_masks_alone(
    compose, written, batch_folder, name
):
    overlay = "+config/mscn/augmentations=quickstart_unmasked"
    config = compose(f"config=mscn/{name}", overlay, f"config.MSCN.DATA={batch_folder}")
    assert config.LOSS[config.LOSS.name]["num_masks"] == 1
    for split in ("TRAIN", "TEST"):
        masked = written(name)["DATA"][split]["TRANSFORMS"]
        assert [t for t in masked if t["name"] != "MSCNHighPass"] == config.DATA[split].TRANSFORMS


MULTIMASK = ["simclr", "simclr_100ep", "quickstart", "byol", "byol_100ep", "byol_quickstart"]


@pytest.mark.parametrize(
    "name", [*MULTIMASK, "barlow_twins", "vicreg", "moco", "simsiam", "swav", "dino"]
)
def test_branches_differ_around_the_papers_best_values(written, name):
    settings = written(name)["DATA"]["TRAIN"]["COLLATE_FUNCTION_PARAMS"]
    focal, channelwise = (0.2, 0.7) if name == "simclr_100ep" else (0.4, 0.8)
    assert sum(settings["focal_probability"]) / 2 == pytest.approx(focal)
    assert sum(settings["channelwise_probability"]) / 2 == pytest.approx(channelwise)
    assert settings["focal_probability"][0] != settings["focal_probability"][1]


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_filters_like_pre_training(written, name):
    sigmas = [
        [
            t["sigma"]
            for t in written(name)["DATA"][split]["TRANSFORMS"]
            if t["name"] == "MSCNHighPass"
        ]
        for split in ("TRAIN", "TEST")
    ]
    assert sigmas[0] == sigmas[1]


@pytest.mark.parametrize("name", ["swav_quickstart", "dino_quickstart"])
def test_vissl_leaves_the_masks_of_its_multicrop_losses_alone(compose, written, name):
    """By itself it refuses SwAV with this collator, and replaces it with DINO."""
    train = compose(f"config=mscn/{name}").DATA.TRAIN
    assert train.COLLATE_FUNCTION == "mscn_multimask_collator"
    assert (
        written(name)["DATA"]["TRAIN"]["COLLATE_FUNCTION_PARAMS"] == train.COLLATE_FUNCTION_PARAMS
    )


RUNS = [("simclr", 800, 4.8), ("simclr_100ep", 100, 4.8), ("byol", 1000, 3.2)]


@pytest.mark.parametrize(
    ("name", "epochs", "rate", "nodes", "processes"),
    [
        *((*run, 4, 8) for run in (*RUNS, ("byol_100ep", 100, 7.2))),
        (*RUNS[0], 1, 1),
        (*RUNS[2], 1, 8),
    ],
)
def test_the_learning_rate_that_vissl_applies(
    compose, large_folder, monkeypatch, name, epochs, rate, nodes, processes
):
    """Through VISSL's own inference, optimizer and parameter groups, step by step."""
    from classy_vision.optim import build_optimizer, build_optimizer_schedulers
    from vissl.optimizers import get_optimizer_param_groups

    from mscn_plugin.config import infer
    from mscn_plugin.config.checks import machine

    steps = tuple(step for step in infer.STEPS if step is not machine.check)
    monkeypatch.setattr(infer, "STEPS", steps)
    config = compose(
        f"config=mscn/{name}",
        f"config.MSCN.DATA={large_folder}",
        f"config.DISTRIBUTED.NUM_NODES={nodes}",
        f"config.DISTRIBUTED.NUM_PROC_PER_NODE={processes}",
    )
    peak = rate * (nodes * processes * 128) / 4096
    optimizer = build_optimizer(config.OPTIMIZER)
    schedulers = build_optimizer_schedulers(config.OPTIMIZER)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    groups = get_optimizer_param_groups(model, config.MODEL, config.OPTIMIZER, schedulers)
    optimizer.set_param_groups(groups)

    def rate_at(where: float) -> float:
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step(where=where)
        assert not isinstance(optimizer.options_view.lr, list)
        return optimizer.options_view.lr

    steps = 1_281_167 // (nodes * processes * 128) * epochs
    warmup = 10 / epochs
    half = math.cos(math.pi * (0.5 - warmup) / (1 - warmup))
    assert rate_at(0.0) == 0.0
    assert rate_at(warmup / 2) == pytest.approx(peak / 2)
    assert rate_at(warmup) == pytest.approx(peak)
    last = 0.001 * peak  # "the training protocol in [51]" (A.1)
    assert rate_at(0.5) == pytest.approx(last + (peak - last) * (1 + half) / 2)
    assert rate_at((steps - 1) / steps) == pytest.approx(last, abs=1e-6 * peak)
    assert max(rate_at(i / 200) for i in range(200)) <= peak * (1 + 1e-6)


@pytest.mark.parametrize("name", ["simclr", "simclr_100ep", "simclr_unmasked"])
def test_the_projector_is_the_papers(compose, batch_folder, name):
    from vissl.models import build_model

    config = compose(f"config=mscn/{name}", CPU, f"config.MSCN.DATA={batch_folder}")
    config.MODEL.TRUNK.NAME = "small_resnet"  # the projector's dimensions are its own
    model = build_model(config.MODEL, config.OPTIMIZER)
    assert [shape for head in model.heads for shape in shapes(head)] == [
        ("Linear", (2048, 2048)),
        ("BatchNorm1d", (2048,)),
        ("ReLU", ()),
        ("Linear", (256, 2048)),
        ("BatchNorm1d", (256,)),
    ]


@pytest.mark.parametrize("name", ["byol", "byol_100ep", "byol_unmasked"])
def test_projector_and_predictor_of_byol_are_the_papers(compose, batch_folder, name):
    from vissl.models import build_model

    config = compose(f"config=mscn/{name}", CPU, f"config.MSCN.DATA={batch_folder}")
    config.MODEL.TRUNK.NAME = "small_resnet"
    model = build_model(config.MODEL, config.OPTIMIZER)
    assert [shapes(head) for head in model.heads] == [
        [
            ("Linear", (4096, size)),
            ("BatchNorm1d", (4096,)),
            ("ReLU", ()),
            ("Linear", (256, 4096)),
        ]
        for size in (2048, 256)
    ]


def shapes(head):
    """Kind and weight of each layer of a head."""
    return [
        (type(layer).__name__, tuple(layer.weight.shape) if hasattr(layer, "weight") else ())
        for layer in head.clf
    ]


def test_weight_decay_and_lars_leave_biases_and_norms_alone(compose, batch_folder):
    from classy_vision.optim import build_optimizer, build_optimizer_schedulers
    from vissl.models import build_model
    from vissl.optimizers import get_optimizer_param_groups

    config = compose("config=mscn/simclr", CPU, f"config.MSCN.DATA={batch_folder}")
    config.MODEL.TRUNK.NAME = "small_resnet"
    model = build_model(config.MODEL, config.OPTIMIZER)
    optimizer = build_optimizer(config.OPTIMIZER)
    schedulers = build_optimizer_schedulers(config.OPTIMIZER)
    optimizer.set_param_groups(
        get_optimizer_param_groups(model, config.MODEL, config.OPTIMIZER, schedulers)
    )
    decays = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decays) == len(list(model.parameters()))
    for parameter, decay in decays.items():
        assert decay == (1e-6 if parameter.dim() > 1 else 0.0)
    assert all(group["exclude"] for group in optimizer.param_groups)


def test_checks_do_not_depend_on_having_been_run_before(compose, batch_folder):
    from mscn_plugin.config.infer import prepare_config

    config = compose("config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}")
    again = copy.deepcopy(config)
    prepare_config(again)
    assert again == config


@pytest.mark.parametrize(("name", "rate", "batch"), [("simclr", 4.8, 4096), ("dino", 0.03, 256)])
def test_the_quickstarts_scale_leaves_a_methods_rate_as_it_is(compose, written, name, rate, batch):
    config = compose(f"config=mscn/{name}", "+config/mscn/scale=quickstart")
    lr = config.OPTIMIZER.param_schedulers.lr
    own = written(name)["OPTIMIZER"]["param_schedulers"]["lr"]
    assert lr.start_value == pytest.approx(rate * 64 / batch)
    assert lr.end_value / lr.start_value == pytest.approx(own["end_value"] / own["start_value"])
    assert lr.warmup_start_value == 0
