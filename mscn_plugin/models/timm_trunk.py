"""ConvNets of the library timm as VISSL trunks: ``MODEL.TRUNK.NAME: timm``.

timm is imported where a trunk is built: it is an extra, and takes a second.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from vissl.models.model_helpers import transform_model_input_data_type
from vissl.models.trunks import register_model_trunk

from mscn_plugin.allowed import BELOW_ONE, SOME_TEXT, Allowed, either, whole
from mscn_plugin.errors import suggestion
from mscn_plugin.models.dropout import without_dropped_features
from mscn_plugin.models.input_channels import input_channels
from mscn_plugin.types import Config

FAMILIES = frozenset(
    (
        *("byobnet", "convmixer", "convnext", "cspnet", "cspnext", "densenet", "dla", "dpn"),
        *("efficientnet", "fasternet", "fastvit", "focalnet", "ghostnet", "hardcorenas", "hgnet"),
        *("hrnet", "inception_next", "inception_resnet_v2", "inception_v3", "inception_v4"),
        *("lcnetv2", "mambaout", "metaformer", "mobilenetv3", "mobilenetv5", "nasnet", "nfnet"),
        *("pnasnet", "rdnet", "regnet", "repghost", "repvit", "res2net", "resnest", "resnet"),
        *("resnetv2", "rexnet", "selecsls", "senet", "sknet", "starnet", "tresnet", "vgg"),
        *("vovnet", "xception", "xception_aligned"),
    )
)
"""timm's modules that hold ConvNets; :func:`_check_convolutional` refuses the hybrids in them."""

_ALLOWED = {
    "NAME": SOME_TEXT,
    "IN_CHANS": either(Allowed("null", lambda value: value is None), whole(1)),
    "DROP_PATH_RATE": BELOW_ONE,
    "WEIGHTS": Allowed(
        "a file, or null", lambda value: value is None or (isinstance(value, str) and value != "")
    ),
    "KWARGS": Allowed(
        "a section of arguments of timm.create_model",
        lambda value: value is None or isinstance(value, Mapping),
    ),
}
_ELSEWHERE = {
    "in_chans": "IN_CHANS",
    "drop_path_rate": "DROP_PATH_RATE",
    **dict.fromkeys(
        ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"), "WEIGHTS"
    ),
    "num_classes": "MODEL.HEAD.PARAMS",
    **dict.fromkeys(
        ("features_only", "out_indices", "feature_cls", "output_fmt"),
        "LINEAR_EVAL_FEAT_POOL_OPS_MAP",
    ),
    **dict.fromkeys(("device", "dtype"), "MACHINE.DEVICE"),
    "cache_dir": "WEIGHTS",
}
"""Arguments of ``timm.create_model`` that are not the user's, and the keys in their place."""
_STAGES = ("res1", "res2", "res3", "res4", "res5")


@dataclasses.dataclass(frozen=True)
class TimmSettings:
    """The section ``MODEL.TRUNK.TIMM``.

    Attributes:
        name: ``NAME``, of a ConvNet as ``timm.list_models()`` has it.
        in_chans: ``IN_CHANS``, channels of its input, at least 1; where that is null those of the
            images: ``MODEL.TRUNK.INPUT.CHANNELS``, else 3, and of images that VISSL makes "lab" 1.
        drop_path_rate: ``DROP_PATH_RATE``, of stochastic depth; 0: none.
        weights: ``WEIGHTS``, a file of timm's weights to start from, or None.
        kwargs: ``KWARGS``, further arguments of ``timm.create_model``, such as ConvNeXt's
            ``depths`` and ``dims``.
    """

    name: str
    in_chans: int
    drop_path_rate: float = 0.0
    weights: str | None = None
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, model_config: Config) -> TimmSettings:
        """Read the section of VISSL's ``config.MODEL``.

        Raises:
            ValueError: a setting is unknown or outside of its range; the message starts with it.
        """
        section = dict(model_config.TRUNK.get("TIMM") or {})
        for key, value in section.items():
            if key not in _ALLOWED:
                raise ValueError(f"{key} is not a setting of timm; {suggestion(key, _ALLOWED)}")
            _ALLOWED[key].check(key, value)
        if "NAME" not in section:
            raise ValueError("NAME is missing; it must be a ConvNet of timm: NAME=convnext_tiny")
        kwargs = dict(section.get("KWARGS") or {})
        for key, value in kwargs.items():
            if key in _ELSEWHERE:
                raise ValueError(f"KWARGS.{key} must be left out; its key is {_ELSEWHERE[key]}")
            if value is None:
                raise ValueError(
                    f"KWARGS.{key} is None, which timm.create_model leaves out; it must have a "
                    "value, or be left out here, too"
                )
        if kwargs.get("global_pool") == "":
            raise ValueError("KWARGS.global_pool is ''; it must be a pooling, such as avg or max")
        taken = {"lab": 1, "bgr": 3}.get(model_config.INPUT_TYPE)
        in_chans = section.get("IN_CHANS") or taken or input_channels(model_config)
        if taken not in (None, in_chans):
            raise ValueError(
                f"IN_CHANS is {in_chans}; it must be null or {taken} with config.MODEL.INPUT_TYPE "
                f"{model_config.INPUT_TYPE}"
            )
        settings = {key.lower(): value for key, value in section.items()}
        return cls(**{**settings, "in_chans": in_chans, "kwargs": kwargs})

    def arguments(self) -> dict[str, Any]:
        """What ``timm.create_model`` takes after the name for the architecture of the trunk."""
        return {"num_classes": 0, "in_chans": self.in_chans, **self.kwargs}


def is_timm(model_config: Config) -> bool:
    """Whether the trunk of VISSL's ``config.MODEL`` is one of timm, behind a filter or not."""
    return str(model_config.TRUNK.NAME) in ("timm", "high_pass_timm")


@register_model_trunk("timm")
class TimmTrunk(nn.Module):
    """A ConvNet of timm, with VISSL's names for its features.

    ``res5`` is the output of the last of timm's stages (``feature_info``), ``res4`` of the one
    before it and so on, as many as there are; ``res5avg`` and ``flatten`` are what timm's model
    without its classifier returns, as ``[B, F, 1, 1]`` and ``[B, F]``. Parameters are timm's, with
    VISSL's prefix ``_feature_blocks``.

    Args:
        model_config: VISSL's ``config.MODEL``.
        model_name: the registered name; VISSL passes it to every trunk.

    Raises:
        ValueError: timm is not installed, or :class:`TimmSettings` are not what it takes; the
            message starts with the setting.
    """

    recomputes = False
    """Whether activations are recomputed in the backward pass."""

    def __init__(self, model_config: Config, model_name: str) -> None:
        super().__init__()
        self.input_type = model_config.INPUT_TYPE
        settings = TimmSettings.of(model_config)
        self._feature_blocks = create_convnet(settings)
        if model_config.ACTIVATION_CHECKPOINTING.USE_ACTIVATION_CHECKPOINTING:
            _recompute_activations(self._feature_blocks, settings.name)
            self.recomputes = True
        self.stages = _stages(self._feature_blocks)
        # Of maps: those of MambaOut.
        self.channels_last = getattr(self._feature_blocks, "output_fmt", "NCHW") == "NHWC"

    def forward(self, x: Tensor, out_feat_keys: list[str] | None = None) -> list[Tensor]:
        """Features of images ``[B, C, H, W]`` at the named layers; else ``[B, F]``.

        Raises:
            ValueError: the trunk has no layer of a name.
        """
        layers = out_feat_keys or ["flatten"]
        for layer in layers:
            if layer not in (*self.stages, "res5avg", "flatten"):
                raise ValueError(
                    f"the trunk has no layer {layer!r}; it has "
                    f"{', '.join((*self.stages, 'res5avg'))} and flatten"
                )
        features: dict[str, Tensor] = {}
        # The hooks last no longer than the pass: those of a model are copied with it, into BYOL's
        # target for instance, and keep what they were made for.
        convnet: Any = self._feature_blocks
        hooks = [
            convnet.get_submodule(module).register_forward_hook(
                functools.partial(_keep, features, layer, self.channels_last)
            )
            for layer, module in self.stages.items()
            if layer in layers
        ]
        paused = self.recomputes and bool(hooks)  # many call no stage then, but its blocks
        if paused:
            convnet.set_grad_checkpointing(False)
        try:
            pooled = convnet(transform_model_input_data_type(x, self.input_type))
        finally:
            for hook in hooks:
                hook.remove()
            if paused:
                convnet.set_grad_checkpointing()
        features.update(flatten=pooled, res5avg=pooled[:, :, None, None])
        return [features[layer] for layer in layers]


def _stages(model: Any) -> dict[str, str]:
    """The modules whose outputs are the features of stages, by VISSL's names, the first ones first.

    HRNet, whose stages return several maps at once, has none.
    """
    modules = [str(info["module"]) for info in model.feature_info][-len(_STAGES) :]
    known = {name for name, _ in model.named_modules()}
    return dict(zip(_STAGES[-len(modules) :], modules)) if known.issuperset(modules) else {}


def _keep(
    features: dict[str, Tensor],
    layer: str,
    channels_last: bool,
    module: nn.Module,
    arguments: Any,
    output: Tensor | list[Tensor],
) -> None:
    """A hook that notes the output of a stage as ``[B, C, H, W]``."""
    found = output[0] if isinstance(output, list) else output  # SelecSLS returns a skip, too
    features[layer] = found.permute(0, 3, 1, 2) if channels_last else found


def create_convnet(settings: TimmSettings) -> nn.Module:
    """timm's model without its classifier, newly initialized or with the weights of the file.

    Raises:
        ValueError: see :class:`TimmTrunk`.
    """
    try:
        import timm
    except ImportError:
        raise ValueError(
            f"NAME is {settings.name!r}, a model of the library timm, which is not installed: "
            "pip install timm"
        ) from None
    _check_name(settings.name)
    arguments = settings.arguments()
    if settings.drop_path_rate:  # not all models have it
        arguments["drop_path_rate"] = settings.drop_path_rate
    try:
        model: nn.Module = timm.create_model(settings.name, pretrained=False, **arguments)
    except Exception as error:  # every model has its own way to refuse an argument
        raise ValueError(_refused(settings, error)) from error
    _check_convolutional(model, settings.name)
    _drop_nothing_unasked(model, settings)
    if settings.weights is not None:
        _load_weights(model, settings)
    return model


def _drop_nothing_unasked(model: nn.Module, settings: TimmSettings) -> None:
    """Some families drop paths or features unless they are told not to, FasterNet and GhostNet."""
    from timm.layers import DropPath

    for module in model.modules():
        if isinstance(module, DropPath) and not settings.drop_path_rate:
            module.drop_prob = 0.0
    if not any("drop" in key for key in settings.kwargs):
        without_dropped_features(model)


def _check_name(name: str) -> None:
    """Refuse names that timm does not have, and those of its transformers."""
    import timm

    known = timm.list_models()
    if name not in known:
        convnets = timm.list_models(module=list(FAMILIES))
        plain, _, tag = name.partition(".")
        if tag and plain in known:
            reason = f"the tag of weights, {tag}, must be left out: nothing is downloaded, and "
            raise ValueError(f"NAME is {name!r}; {reason}WEIGHTS may be a file")
        near = difflib.get_close_matches(name, convnets, n=1)
        meant = f"did you mean {near[0]}?" if near else "timm.list_models() lists them"
        raise ValueError(f"NAME is {name!r}, which is not a model of timm; {meant}")
    if not timm.models.is_model_in_modules(name, FAMILIES):
        _refuse_transformer(name)


def _check_convolutional(model: nn.Module, name: str) -> None:
    """Refuse the hybrids among the networks of a family: their blocks attend to all positions.

    Attention to channels ("Attn" in timm) is a ConvNet's.
    """
    classes = {type(module).__name__ for module in model.modules()}
    hybrid = sorted(c for c in classes if "Attention" in c or "NonLocal" in c)
    if hybrid:
        _refuse_transformer(name, f" but has {hybrid[0]}")


def _refuse_transformer(name: str, why: str = "") -> None:
    raise ValueError(
        f"NAME is {name!r}, which is not a ConvNet{why}: the paper's filter and masks counter what "
        "holes in an image do to convolutions, and a network that mixes patches or tokens in other "
        "ways, by attention for instance, has no need of them, as it can leave masked patches out; "
        "it must be a ConvNet, such as convnext_tiny"
    )


def _refused(settings: TimmSettings, error: Exception) -> str:
    """The message where timm does not take the arguments."""
    # Half of the assertions have no message; the line shows what was asserted.
    line = traceback.extract_tb(error.__traceback__)[-1].line or type(error).__name__
    words = (" ".join(str(error).split()) or line)[:300]
    if "drop_path_rate" in words:
        key, value = "DROP_PATH_RATE", str(settings.drop_path_rate)
    elif "in_chans" in words:
        key, value = "IN_CHANS", str(settings.in_chans)
    elif settings.kwargs:
        key, value = "KWARGS", str(dict(settings.kwargs))
    else:
        return f"NAME is {settings.name!r}, which timm cannot build: {words}"
    return f"{key} is {value}, which timm's {settings.name} does not take: {words}"


def _recompute_activations(model: Any, name: str) -> None:
    """Let timm checkpoint the activations of its blocks; VISSL's number of splits has no part."""
    try:
        model.set_grad_checkpointing()
    except (AssertionError, AttributeError, TypeError):
        raise ValueError(
            f"NAME is {name!r}, of which timm cannot recompute activations; "
            "config.MODEL.ACTIVATION_CHECKPOINTING.USE_ACTIVATION_CHECKPOINTING must be False"
        ) from None


def _load_weights(model: Any, settings: TimmSettings) -> None:
    """Load timm's weights, all of them but a classifier's, from a file of PyTorch or safetensors.

    The first convolution of a file of 3 channels is fitted to others as timm does it.
    """
    from timm.models import adapt_input_conv, load_state_dict

    path = Path(str(settings.weights)).expanduser()
    if not path.is_file():
        raise ValueError(f"WEIGHTS is {settings.weights!r}, which is not a file")
    try:
        weights = load_state_dict(str(path), device="cpu", weights_only=True)
        for name, weight in weights.items():
            if not isinstance(weight, Tensor):
                raise TypeError(f"{name} is not a tensor")
    except Exception as error:  # of damaged files, and of other formats
        words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(
            f"WEIGHTS is {settings.weights!r}, which cannot be read ({words}); it must be a file "
            "of a model's state_dict, of PyTorch or safetensors"
        ) from None
    broken = [name for name, weight in weights.items() if not weight.isfinite().all()]
    if broken:
        raise ValueError(f"WEIGHTS is {settings.weights!r}, which has NaN or Inf in {broken[0]}")
    unknown = weights.keys() - model.state_dict().keys()
    for name in unknown & _with_classifier(settings) if unknown else ():
        del weights[name]
    for convolution in _several(model.pretrained_cfg.get("first_conv")):
        kernels = weights.get(f"{convolution}.weight")
        if kernels is not None and kernels.shape[1] == 3 != settings.in_chans:
            weights[f"{convolution}.weight"] = adapt_input_conv(settings.in_chans, kernels)
    device = next(model.parameters()).device  # "meta", where shapes are all that is needed
    try:
        model.load_state_dict({name: weight.to(device) for name, weight in weights.items()})
    except RuntimeError as error:
        raise ValueError(
            f"WEIGHTS is {settings.weights!r}, which does not hold the weights of timm's "
            f"{settings.name} with these settings: {str(error).splitlines()[-1].strip()[:300]}"
        ) from None


def _with_classifier(settings: TimmSettings) -> set[str]:
    """Names of the weights of timm's whole model, whose classifier may have several layers."""
    import timm

    arguments = settings.arguments()
    del arguments["num_classes"]
    with torch.device("meta"):
        return {*timm.create_model(settings.name, pretrained=False, **arguments).state_dict()}


def _several(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())
