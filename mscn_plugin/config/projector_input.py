"""The first head's input follows the trunk: ``dims: [null, 4096, 256]`` fits any of them."""

from __future__ import annotations

from mscn_plugin.errors import ConfigError
from mscn_plugin.models.shapes import trunk_features
from mscn_plugin.transforms.stated import crop_size
from mscn_plugin.types import Config


def infer_and_check(cfg: Config) -> None:
    """Put the trunk's number of features in the place of a null in the first head's ``dims``.

    Raises:
        ConfigError: the number that stands there is not the trunk's.
    """
    model = cfg.MODEL
    heads = model.HEAD.PARAMS
    if not heads or model.MULTI_INPUT_HEAD_MAPPING:
        return
    is_chain = isinstance(heads[0][0], list)
    name, settings = heads[0][0] if is_chain else heads[0]
    if name not in ("mlp", "swav_head"):
        return
    dims = settings["dims"]
    key = f"config.MODEL.HEAD.PARAMS[0]{'[0]' if is_chain else ''}[1].dims[0]"
    if model.FEATURE_EVAL_SETTINGS.EVAL_MODE_ON and dims[0] is not None:
        return  # of whatever layer, pooled in whatever way
    try:
        features = trunk_features(model, crop_size(cfg.DATA.TRAIN.TRANSFORMS) or (224, 224))
    except Exception as error:
        if dims[0] is not None:
            return  # a trunk that needs more than an image; its number is the user's
        raise ConfigError(
            f"{key} is null, which takes the trunk {model.TRUNK.NAME}'s number of features, and "
            f"that fails ({error}); give the number"
        ) from error
    if dims[0] not in (None, features):
        raise ConfigError(
            f"{key} is {dims[0]}, but the trunk {model.TRUNK.NAME} has {features} features; it "
            f"must be null, which takes the trunk's number, or {features}"
        )
    dims[0] = features
