"""The shipped YAML files: what they say, how they differ, and the rates that VISSL applies."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
import yaml

from mscn_plugin.config.folder import config_folder

FOLDER = config_folder() / "config" / "mscn"
PAGES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
OVERLAYS = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.glob("*/*.yaml"))
CPU = "+config/mscn/machine=cpu"


def page(name: str):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["config"]


def differences(first, second, path=()):
    """Paths at which two configurations differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        return {
            difference
            for key in first.keys() | second.keys()
            for difference in differences(first.get(key), second.get(key), (*path, key))
        }
    return set() if first == second else {".".join(path)}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_composes(compose, large_folder, name):
    machine = [] if "quickstart" in name else [CPU]
    config = compose(f"config=mscn/{name}", *machine, f"config.MSCN.DATA={large_folder}")
    assert config.TRAINER.TASK_NAME == "mscn_task"
    assert config.MODEL.HEAD.PARAMS[0][1]["dims"][0] == (128 if "quickstart" in name else 2048)
    assert Path(config.CHECKPOINT.DIR).is_absolute()


@pytest.mark.hydra
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_composes(registered, overlay):
    from vissl.utils.hydra_config import compose_hydra_configuration

    group, option = overlay.split("/")
    compose_hydra_configuration(["config=mscn/simclr", f"+config/mscn/{group}={option}"])


def test_one_hundred_epochs_differ_from_the_paper_run_in_what_section_4_says():
    assert differences(page("simclr"), page("simclr_100ep")) == {
        "DATA.TRAIN.COLLATE_FUNCTION_PARAMS.ratio",
        "DATA.TRAIN.COLLATE_FUNCTION_PARAMS.focal_probability",
        "DATA.TRAIN.COLLATE_FUNCTION_PARAMS.channelwise_probability",
        "OPTIMIZER.num_epochs",
        "CHECKPOINT.DIR",
    }


def test_the_unmasked_baseline_differs_in_filter_and_masks_alone():
    assert differences(page("simclr"), page("simclr_unmasked")) == {
        "DATA.TRAIN.COLLATE_FUNCTION",
        "DATA.TRAIN.COLLATE_FUNCTION_PARAMS",
        "DATA.TRAIN.TRANSFORMS",
        "DATA.TEST.TRANSFORMS",
        "LOSS.mscn_info_nce_loss.num_masks",
        "LOSS.mscn_info_nce_loss.negatives",
        "CHECKPOINT.DIR",
    }
    for split in ("TRAIN", "TEST"):
        masked, unmasked = (
            page(n)["DATA"][split]["TRANSFORMS"] for n in ("simclr", "simclr_unmasked")
        )
        assert [t for t in masked if t["name"] != "MSCNHighPass"] == unmasked


def test_byol_differs_from_simclr_in_trunk_passes_head_loss_and_optimizer():
    assert differences(page("simclr"), page("byol")) == {
        "DATA.TRAIN.COLLATE_FUNCTION_PARAMS.split_branches",
        "MODEL.BASE_MODEL_NAME",
        "MODEL.HEAD.PARAMS",
        "LOSS.name",
        "LOSS.mscn_info_nce_loss",
        "LOSS.byol_loss",
        "OPTIMIZER.num_epochs",
        "OPTIMIZER.weight_decay",
        "OPTIMIZER.param_schedulers.lr.auto_lr_scaling.base_value",
        "OPTIMIZER.param_schedulers.lr.start_value",
        "CHECKPOINT.DIR",
    }


def test_one_hundred_epochs_of_byol_differ_in_what_was_chosen():
    assert differences(page("byol"), page("byol_100ep")) == {
        "LOSS.byol_loss.target_momentum",
        "OPTIMIZER.num_epochs",
        "OPTIMIZER.weight_decay",
        "OPTIMIZER.param_schedulers.lr.auto_lr_scaling.base_value",
        "OPTIMIZER.param_schedulers.lr.start_value",
        "CHECKPOINT.DIR",
    }


def test_unmasked_byol_differs_in_views_alone():
    assert differences(page("byol"), page("byol_unmasked")) == {
        "DATA.TRAIN.COLLATE_FUNCTION",
        "DATA.TRAIN.COLLATE_FUNCTION_PARAMS",
        "DATA.TRAIN.TRANSFORMS",
        "DATA.TEST.TRANSFORMS",
        "LOSS.byol_loss.num_masks",
        "CHECKPOINT.DIR",
    }
    overlays = {
        name: yaml.safe_load((FOLDER / f"augmentations/{name}.yaml").read_text())["config"]["DATA"]
        for name in ("byol", "symmetric_unmasked")
    }
    high_pass = [{"name": "MSCNHighPass", "sigma": 5.0}]
    masked, unmasked = (page(n)["DATA"]["TRAIN"]["TRANSFORMS"] for n in ("byol", "byol_unmasked"))
    assert masked == overlays["symmetric_unmasked"]["TRAIN"]["TRANSFORMS"] + high_pass
    assert unmasked + high_pass == overlays["byol"]["TRAIN"]["TRANSFORMS"]


@pytest.mark.parametrize("name", ["quickstart", "byol_quickstart"])
def test_the_unmasked_quickstart_differs_in_filter_and_masks_alone(compose, large_folder, name):
    overlay = "+config/mscn/augmentations=quickstart_unmasked"
    config = compose(f"config=mscn/{name}", overlay, f"config.MSCN.DATA={large_folder}")
    assert config.LOSS[config.LOSS.name]["num_masks"] == 1
    for split in ("TRAIN", "TEST"):
        masked = page(name)["DATA"][split]["TRANSFORMS"]
        assert [t for t in masked if t["name"] != "MSCNHighPass"] == config.DATA[split].TRANSFORMS


@pytest.mark.parametrize("name", ["barlow_twins", "moco"])
def test_other_losses_have_the_views_of_the_papers_run(name):
    views, mine = page("simclr")["DATA"]["TRAIN"], page(name)["DATA"]["TRAIN"]
    assert differences(views, mine) <= {
        "BATCHSIZE_PER_REPLICA",
        "COLLATE_FUNCTION_PARAMS.num_masks",
        "COLLATE_FUNCTION_PARAMS.split_branches",
        "COLLATE_FUNCTION_PARAMS.momentum_branch",
    }
    assert mine["COLLATE_FUNCTION_PARAMS"]["num_masks"] == 1


MULTIMASK_PAGES = ["simclr", "simclr_100ep", "quickstart", "byol", "byol_100ep", "byol_quickstart"]


@pytest.mark.parametrize("name", [*MULTIMASK_PAGES, "barlow_twins", "moco"])
def test_branches_differ_around_the_papers_best_values(name):
    settings = page(name)["DATA"]["TRAIN"]["COLLATE_FUNCTION_PARAMS"]
    focal, channelwise = (0.2, 0.7) if name == "simclr_100ep" else (0.4, 0.8)
    assert sum(settings["focal_probability"]) / 2 == pytest.approx(focal)
    assert sum(settings["channelwise_probability"]) / 2 == pytest.approx(channelwise)
    assert settings["focal_probability"][0] != settings["focal_probability"][1]


@pytest.mark.parametrize("name", PAGES)
def test_evaluation_filters_like_pre_training(name):
    sigmas = [
        [t["sigma"] for t in page(name)["DATA"][split]["TRANSFORMS"] if t["name"] == "MSCNHighPass"]
        for split in ("TRAIN", "TEST")
    ]
    assert sigmas[0] == sigmas[1]


RUNS = [("simclr", 800, 4.8), ("simclr_100ep", 100, 4.8), ("byol", 1000, 3.2)]


@pytest.mark.parametrize(("name", "epochs", "rate"), [*RUNS, ("byol_100ep", 100, 7.2)])
@pytest.mark.parametrize(("nodes", "processes"), [(1, 1), (1, 8), (4, 8)])
def test_the_learning_rate_that_vissl_applies(
    compose, large_folder, monkeypatch, name, epochs, rate, nodes, processes
):
    """Through VISSL's own inference, optimizer and parameter groups, step by step."""
    from classy_vision.optim import build_optimizer, build_optimizer_schedulers
    from vissl.optimizers import get_optimizer_param_groups

    from mscn_plugin.config import infer
    from mscn_plugin.config.checks import machine

    steps = tuple(step for step in infer.STEPS if step not in machine.RULES)
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
    assert rate_at(0.5) == pytest.approx(peak * (1 + half) / 2)
    assert rate_at((steps - 1) / steps) == pytest.approx(0.0, abs=1e-6 * peak)
    assert max(rate_at(i / 1000) for i in range(1000)) == pytest.approx(peak, rel=1e-6)


@pytest.mark.parametrize("name", ["simclr", "simclr_100ep", "simclr_unmasked"])
def test_the_projector_is_the_papers(compose, large_folder, name):
    from vissl.models import build_model

    config = compose(f"config=mscn/{name}", CPU, f"config.MSCN.DATA={large_folder}")
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
def test_projector_and_predictor_of_byol_are_the_papers(compose, large_folder, name):
    from vissl.models import build_model

    config = compose(f"config=mscn/{name}", CPU, f"config.MSCN.DATA={large_folder}")
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


def test_weight_decay_and_lars_leave_biases_and_norms_alone(compose, large_folder):
    from classy_vision.optim import build_optimizer, build_optimizer_schedulers
    from vissl.models import build_model
    from vissl.optimizers import get_optimizer_param_groups

    config = compose("config=mscn/simclr", CPU, f"config.MSCN.DATA={large_folder}")
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


def test_checks_do_not_depend_on_having_been_run_before(compose, large_folder):
    from mscn_plugin.config.infer import prepare_config

    config = compose("config=mscn/quickstart", f"config.MSCN.DATA={large_folder}")
    again = copy.deepcopy(config)
    prepare_config(again)
    assert again == config
