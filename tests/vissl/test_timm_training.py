"""What VISSL's trainer does to a trunk of timm: each parameter trained once, SyncBN complete."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from narrow_convnets import NARROW
from torch import nn

pytestmark = pytest.mark.usefixtures("registered")
timm = pytest.importorskip("timm")


@pytest.fixture
def model_of(compose, batch_folder):
    """VISSL's model with a narrow trunk of timm, and its configuration."""

    def build(name, *overrides):
        from vissl.models import build_model

        config = compose(
            "config=mscn/quickstart",
            f"config.MSCN.DATA={batch_folder}",
            "+config/mscn/models=timm_convnext_tiny",
            f"config.MODEL.TRUNK.TIMM.NAME={name}",
            f"+config.MODEL.TRUNK.TIMM.KWARGS={json.dumps(NARROW[name]).replace(chr(34), '')}",
            *overrides,
        )
        return build_model(config.MODEL, config.OPTIMIZER), config

    return build


def groups_of(model, config):
    from vissl.trainer import train_task

    groups = train_task.get_optimizer_param_groups(
        model=model,
        model_config=config.MODEL,
        optimizer_config=config.OPTIMIZER,
        optimizer_schedulers={"lr": "trunk's", "lr_head": "heads'"},
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [
        (names[id(parameter)], group["lr"], bool(group["weight_decay"]))
        for group in groups
        for parameter in group["params"]
    ]


@pytest.mark.parametrize("name", ["convnext_tiny", "efficientnetv2_s", "dm_nfnet_f0"])
def test_each_parameter_is_trained_once_at_the_rate_of_its_part(model_of, name):
    model, config = model_of(name, "config.OPTIMIZER.weight_decay=0.05")
    groups = groups_of(model, config)
    assert sorted(group[0] for group in groups) == sorted(n for n, _ in model.named_parameters())
    for parameter, rate, _ in groups:
        assert rate == ("heads'" if parameter.startswith("heads.") else "trunk's"), parameter
    shapes = {parameter: tensor.shape for parameter, tensor in model.trunk.named_parameters()}
    decaying = {n.removeprefix("trunk.") for n, _, decays in groups if decays} & set(shapes)
    expected = {n for n, shape in shapes.items() if sum(side > 1 for side in shape) > 1}
    assert decaying == expected
    gains = [n for n in shapes if n.endswith((".gamma", ".gain", "skipinit_gain"))]
    assert bool(gains) == (name != "efficientnetv2_s")


def test_sync_bn_keeps_the_activations_within_timms_normalizations(model_of):
    from vissl.trainer import train_task

    model, config = model_of("efficientnetv2_s", "config.MODEL.SYNC_BN_CONFIG.GROUP_SIZE=0")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = copy.deepcopy(model).eval()(images)[0]
        converted = train_task.convert_sync_bn(config, model).eval()
        assert torch.equal(converted(images)[0], expected)
    assert any(isinstance(module, nn.SyncBatchNorm) for module in converted.trunk.modules())
    names = converted.state_dict()
    assert "trunk._feature_blocks.bn1.running_mean" in names


def test_other_trunks_are_left_to_vissl(compose, batch_folder):
    from vissl.models import build_model
    from vissl.optimizers import get_optimizer_param_groups
    from vissl.trainer import train_task

    config = compose("config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}")
    model = build_model(config.MODEL, config.OPTIMIZER)
    given = {
        "model": model,
        "model_config": config.MODEL,
        "optimizer_config": config.OPTIMIZER,
        "optimizer_schedulers": {"lr": 1, "lr_head": 2},
    }
    found = train_task.get_optimizer_param_groups(**given)
    for mine, theirs in zip(found, get_optimizer_param_groups(**given), strict=True):
        assert [*map(id, mine.pop("params"))] == [*map(id, theirs.pop("params"))]
        assert mine == theirs


@pytest.mark.parametrize(
    ("optimizer", "name", "overrides", "warned"),
    [
        ("sgd", "convnext_tiny", [], True),
        ("sgd", "resnet26d", [], False),
        ("adamw", "convnext_tiny", ["+config/mscn/optimizer=adamw"], False),
    ],
)
def test_sgd_under_a_convnext_behind_the_filter_is_warned_of(
    model_of, optimizer, name, overrides, warned, caplog
):
    _, config = model_of(name, *overrides)
    assert config.OPTIMIZER.name == optimizer
    assert ("with which convnext_tiny collapses" in caplog.text) == warned


def test_an_evaluation_of_a_convnext_is_not_warned_of(compose, batch_folder, caplog):
    from mscn_plugin.config.checks.optimizer import _warn_of_convnext

    overlay = "+config/mscn/models=timm_convnext_tiny"
    config = compose("config=mscn/quickstart", overlay, f"config.MSCN.DATA={batch_folder}")
    caplog.clear()
    config.MODEL.FEATURE_EVAL_SETTINGS.EVAL_MODE_ON = True
    _warn_of_convnext(config)
    assert caplog.text == ""
