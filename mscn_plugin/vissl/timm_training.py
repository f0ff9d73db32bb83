"""Two functions of VISSL's trainer that know the modules of its own trunks, for timm's, too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import nn
from vissl.trainer import train_task

from mscn_plugin.models.timm_trunk import TimmTrunk
from mscn_plugin.types import Config

_WITH_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def install() -> None:
    """Wrap both; calling it again changes nothing."""
    for name, wrap in (
        ("get_optimizer_param_groups", _with_all_of_timm),
        ("convert_sync_bn", _keeping_activations),
    ):
        function = getattr(train_task, name)
        if not hasattr(function, "__wrapped__"):
            setattr(train_task, name, wrap(function))


def _with_all_of_timm(get_groups: Callable[..., Any]) -> Callable[..., Any]:
    """Put the parameters of timm's trunks where those of VISSL's trunks are.

    VISSL's function goes by classes and names of modules: it misses the gains of NFNet's
    convolutions, which would never be trained, gives what is called "head", such as the last
    normalization of ConvNeXt, the rate of the heads, and lets scales of layers decay.
    """

    @functools.wraps(get_groups)
    def optimizer_param_groups(
        model: nn.Module, model_config: Config, optimizer_config: Config, **options: Any
    ) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = get_groups(
            model=model, model_config=model_config, optimizer_config=optimizer_config, **options
        )
        trunk = getattr(model, "trunk", None)
        if not isinstance(trunk, TimmTrunk) or optimizer_config.construct_single_param_group_only:
            return groups
        split = _split_by_decay(trunk, optimizer_config)
        of_trunk = {id(parameter) for parameters in split for parameter in parameters}
        for group in groups:
            group["params"] = [p for p in group["params"] if id(p) not in of_trunk]
        for group, parameters in zip(groups, split):  # the first two are the trunk's
            group["params"] += parameters
        return groups

    return optimizer_param_groups


def _split_by_decay(
    trunk: nn.Module, optimizer_config: Config
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trainable parameters that decay, and those that do not.

    Weights of convolutions and linear layers decay; their biases do by ``regularize_bias``.
    ``regularize_bn`` speaks for all other vectors and numbers: scales and shifts of normalizations,
    scales of layers, gains.
    """
    without: list[str] = optimizer_config.non_regularized_parameters
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for prefix, module in trunk.named_modules(prefix="trunk"):
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, _WITH_WEIGHTS) and name in ("weight", "bias"):
                decays = name == "weight" or optimizer_config.regularize_bias
            elif sum(side > 1 for side in parameter.shape) > 1:
                decays = True
            else:
                decays = optimizer_config.regularize_bn
                decays = decays and (name != "bias" or optimizer_config.regularize_bias)
            excluded = any(part in f"{prefix}.{name}" for part in without)
            if parameter.requires_grad:
                (decaying if decays and not excluded else others).append(parameter)
    return decaying, others


def _keeping_activations(convert: Callable[..., Any]) -> Callable[..., Any]:
    """Let SyncBN keep the activations that timm has within its batch normalizations.

    PyTorch's conversion would put a normalization alone in the place of both.
    """

    @functools.wraps(convert)
    def convert_sync_bn(config: Config, model: nn.Module) -> nn.Module:
        if not any(isinstance(module, TimmTrunk) for module in model.modules()):
            return convert(config, model)
        from timm.layers import BatchNormAct2d, SyncBatchNormAct

        names = [n for n, module in model.named_modules() if isinstance(module, BatchNormAct2d)]
        converted: nn.Module = convert(config, model)
        for name in names:
            # The conversion moves drop and act over; this class calls them.
            converted.get_submodule(name).__class__ = SyncBatchNormAct
        return converted

    return convert_sync_bn
