"""Checks of VISSL's own keys, which VISSL itself would trip over in its workers or not at all."""

from __future__ import annotations

import copy
import difflib
import functools
import math
import operator
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import vissl.losses
import vissl.optimizers  # noqa: F401
from classy_vision.dataset.transforms import TRANSFORM_REGISTRY
from classy_vision.losses import LOSS_REGISTRY
from classy_vision.meters import METER_REGISTRY
from classy_vision.optim import OPTIMIZER_REGISTRY
from classy_vision.optim.param_scheduler import PARAM_SCHEDULER_REGISTRY
from classy_vision.tasks import TASK_REGISTRY
from torch.nn.modules import loss as torch_losses
from torchvision import transforms as torchvision_transforms
from vissl.data import DATASET_SOURCE_MAP
from vissl.data.collators import COLLATOR_REGISTRY
from vissl.models import MODEL_REGISTRY
from vissl.models.heads import MODEL_HEADS_REGISTRY
from vissl.models.trunks import MODEL_TRUNKS_REGISTRY
from vissl.trainer.train_steps import TRAIN_STEP_REGISTRY
from vissl.utils.misc import is_apex_available

from mscn_plugin.config.hydra_overrides import line_to_type
from mscn_plugin.data.sources import SOURCES
from mscn_plugin.errors import ConfigError, suggestion
from mscn_plugin.losses.registry import losses
from mscn_plugin.types import Config, is_number, is_whole

_SPLITS = ("TRAIN", "TEST")
_WHOLE_NUMBERS = {  # smallest allowed value, where it is not 0, or -1 of a default of -1
    "LOG_FREQUENCY": 1,
    "TEST_EVERY_NUM_EPOCH": 1,
    "OPTIMIZER.num_epochs": 1,
    "DATA.TRAIN.BATCHSIZE_PER_REPLICA": 1,
    "DATA.TEST.BATCHSIZE_PER_REPLICA": 1,
    "DATA.DDP_BUCKET_CAP_MB": 1,
    "DISTRIBUTED.NUM_NODES": 1,
    "DISTRIBUTED.NUM_PROC_PER_NODE": 1,
    "CHECKPOINT.CHECKPOINT_FREQUENCY": 1,
    "CHECKPOINT.LATEST_CHECKPOINT_RESUME_FILE_NUM": 1,
    "HOOKS.TENSORBOARD_SETUP.LOG_PARAMS_EVERY_N_ITERS": 1,
    "MODEL.ACTIVATION_CHECKPOINTING.NUM_ACTIVATION_CHECKPOINTING_SPLITS": 1,
    "MODEL.CUDA_CACHE.CLEAR_FREQ": 1,
    "NEAREST_NEIGHBOR.TOPK": 1,
    "PROFILING.NUM_ITERATIONS": 1,
    "SLURM.MEM_GB": 1,
    "SLURM.NUM_CPU_PER_PROC": 1,
    "SLURM.PORT_ID": 1,
}
_FREQUENCIES = (
    "CHECKPOINT.CHECKPOINT_ITER_FREQUENCY",
    "HOOKS.PERF_STATS.PERF_STAT_FREQUENCY",
    "HOOKS.PERF_STATS.ROLLING_BTIME_FREQ",
)
"""Every so many iterations, or -1, which is VISSL's word for never."""
_NUMBERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "OPTIMIZER.momentum": (lambda value: 0 <= value < 1, "at least 0 and below 1"),
    "MODEL.GRAD_CLIP.MAX_NORM": (lambda value: value > 0, "above 0"),
    "MODEL.GRAD_CLIP.NORM_TYPE": (lambda value: value > 0, "above 0"),
    "MODEL.HEAD.BATCHNORM_EPS": (lambda value: value > 0, "above 0"),
    "MODEL.HEAD.BATCHNORM_MOMENTUM": (lambda value: 0 < value <= 1, "above 0, at most 1"),
    "MODEL.HEAD.PARAMS_MULTIPLIER": (lambda value: value > 0, "above 0"),
    "NEAREST_NEIGHBOR.SIGMA": (lambda value: value > 0, "above 0"),
}
_NAMES = {
    "TRAINER.TASK_NAME": TASK_REGISTRY,
    "TRAINER.TRAIN_STEP_NAME": TRAIN_STEP_REGISTRY,
    "OPTIMIZER.name": OPTIMIZER_REGISTRY,
    "OPTIMIZER.param_schedulers.lr.name": PARAM_SCHEDULER_REGISTRY,
    "DATA.TRAIN.COLLATE_FUNCTION": COLLATOR_REGISTRY,
    "DATA.TEST.COLLATE_FUNCTION": COLLATOR_REGISTRY,
    "MODEL.TRUNK.NAME": MODEL_TRUNKS_REGISTRY,
    "MODEL.BASE_MODEL_NAME": MODEL_REGISTRY,
    "METERS.name": METER_REGISTRY,
}
_UNREGISTERED = {
    "DATA.TRAIN.COLLATE_FUNCTION": ("default_collate",),  # PyTorch's
    "DATA.TEST.COLLATE_FUNCTION": ("default_collate",),
    "METERS.name": ("",),  # none
}
_TEXTS = ("CHECKPOINT.DIR", "DISTRIBUTED.RUN_ID", "DISTRIBUTED.INIT_METHOD", "MODEL.TRUNK.NAME")
_CHOICES: dict[str, tuple[str, ...]] = {
    "MACHINE.DEVICE": ("cpu", "gpu"),
    "CHECKPOINT.BACKEND": ("disk",),
    "MULTI_PROCESSING_METHOD": ("fork", "forkserver", "spawn"),
    "DISTRIBUTED.BACKEND": ("gloo", "nccl"),
    "DISTRIBUTED.INIT_METHOD": ("tcp", "file", "env"),
    "DATA.TRAIN.LABEL_TYPE": ("standard", "sample_index", "zero"),
    "DATA.TEST.LABEL_TYPE": ("standard", "sample_index", "zero"),
    "DATA.TRAIN.BASE_DATASET": ("generic_ssl",),
    "DATA.TEST.BASE_DATASET": ("generic_ssl",),
    "MODEL.INPUT_TYPE": ("rgb", "bgr", "lab"),
    "MODEL.SYNC_BN_CONFIG.SYNC_BN_TYPE": ("apex", "pytorch"),
    "MODEL.AMP_PARAMS.AMP_TYPE": ("apex", "pytorch"),
    "OPTIMIZER.param_schedulers.lr.auto_lr_scaling.scaling_type": ("linear", "sqrt"),
    "OPTIMIZER.param_schedulers.lr_head.auto_lr_scaling.scaling_type": ("linear", "sqrt"),
}
_LABEL_SOURCES = ("disk_filelist", "torchvision_dataset", "synthetic")  # of VISSL
_LISTS_OF_TEXTS = (
    "METERS.names",
    *("MODEL.WEIGHTS_INIT.SKIP_LAYERS", "MODEL.NON_TRAINABLE_PARAMS"),
    "OPTIMIZER.non_regularized_parameters",
    *(f"DATA.{split}.{side}_PATHS" for split in _SPLITS for side in ("DATA", "LABEL")),
    *(f"DATA.{split}.{side}_KEY_NAMES" for split in _SPLITS for side in ("INPUT", "TARGET")),
    *(f"DATA.{split}.DATASET_NAMES" for split in _SPLITS),
)
_ADDRESS = re.compile(r"\[?[^\s/]+\]?:\d+")


def _check_whole_numbers(cfg: Config) -> None:
    for key, smallest in _WHOLE_NUMBERS.items():
        value = _value(cfg, key)
        if not is_whole(value) or value < smallest:
            _refuse(key, value, f"a whole number of at least {smallest}")


def _check_frequencies(cfg: Config) -> None:
    for key in _FREQUENCIES:
        value = _value(cfg, key)
        if not is_whole(value) or (value != -1 and value < 1):
            _refuse(key, value, "a whole number of at least 1, or -1 for never")


def _check_numbers(cfg: Config) -> None:
    for key, (allowed, description) in _NUMBERS.items():
        value = _value(cfg, key)
        if not is_number(value) or not allowed(value):
            _refuse(key, value, f"a number, {description}")


def _check_choices(cfg: Config) -> None:
    for key, options in _CHOICES.items():
        if _value(cfg, key) not in options:
            _refuse(key, _value(cfg, key), " or ".join(options))


def _check_registered(cfg: Config) -> None:
    for key, registry in _NAMES.items():
        if _value(cfg, key) not in (*registry, *_UNREGISTERED.get(key, ())):
            _refuse_name(key, _value(cfg, key), registry)
    if cfg.LOSS.name not in LOSS_REGISTRY and not hasattr(torch_losses, str(cfg.LOSS.name)):
        _refuse_name("LOSS.name", cfg.LOSS.name, LOSS_REGISTRY)
    for path, name in _transform_names(cfg):
        if name not in TRANSFORM_REGISTRY and not _of_torchvision(name):
            _refuse_name(path, name, [*TRANSFORM_REGISTRY, *dir(torchvision_transforms)])


def _check_heads(cfg: Config) -> None:
    for index, head in enumerate(cfg.MODEL.HEAD.PARAMS):
        chain = head if isinstance(head, list) and head and isinstance(head[0], list) else [head]
        for part in chain:
            if not isinstance(part, list) or len(part) != 2 or not isinstance(part[1], dict):
                _refuse(f"MODEL.HEAD.PARAMS[{index}]", part, "a list of a name and its settings")
            if not isinstance(part[0], str) or part[0] not in MODEL_HEADS_REGISTRY:
                _refuse_name(f"MODEL.HEAD.PARAMS[{index}][0]", part[0], MODEL_HEADS_REGISTRY)


def _check_lists(cfg: Config) -> None:
    """Check what stands in lists: texts, sources, meters' k, the classes of layers."""
    for key in _LISTS_OF_TEXTS:
        value = _value(cfg, key)
        if not all(isinstance(entry, str) for entry in value):
            _refuse(key, list(value), "a list of texts")
    for split in _SPLITS:
        for side, known in (
            ("DATA", (*DATASET_SOURCE_MAP, *SOURCES)),
            ("LABEL", (*_LABEL_SOURCES, *SOURCES)),
        ):
            for source in cfg.DATA[split][f"{side}_SOURCES"]:
                if source not in known:
                    _refuse_name(f"DATA.{split}.{side}_SOURCES", source, known)
        limit = cfg.DATA[split].DATA_LIMIT
        if limit == 0:
            _refuse(f"DATA.{split}.DATA_LIMIT", limit, "-1, which takes all, or at least 1")
    for name in cfg.METERS.names:
        if name not in METER_REGISTRY:
            _refuse_name("METERS.names", name, METER_REGISTRY)
    for name, meter in cfg.METERS.items():
        topk = meter.get("topk_values") if isinstance(meter, dict) else None
        if topk is not None and not (topk and all(is_whole(k) and k > 0 for k in topk)):
            _refuse(f"METERS.{name}.topk_values", topk, "a list of whole numbers above 0")
    for entry in cfg.MODEL.FEATURE_EVAL_SETTINGS.LINEAR_EVAL_FEAT_POOL_OPS_MAP:
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], list):
            key = "MODEL.FEATURE_EVAL_SETTINGS.LINEAR_EVAL_FEAT_POOL_OPS_MAP"
            _refuse(key, entry, "a list of a layer's name and its pooling, [name, arguments]")

    for entry in cfg.MODEL.TEMP_FROZEN_PARAMS_ITER_MAP:
        pair = isinstance(entry, list) and len(entry) == 2
        if not pair or not isinstance(entry[0], str) or not is_whole(entry[1]):
            key = "MODEL.TEMP_FROZEN_PARAMS_ITER_MAP"
            _refuse(key, entry, "a list of a parameter's name and a number of iterations")
    ranks, shape = cfg.PROFILING.PROFILED_RANKS, cfg.HOOKS.MODEL_COMPLEXITY.INPUT_SHAPE
    if not all(map(is_whole, ranks)):
        _refuse("PROFILING.PROFILED_RANKS", ranks, "a list of whole numbers")
    if len(shape) != 3 or not all(is_whole(size) and size > 0 for size in shape):
        _refuse("HOOKS.MODEL_COMPLEXITY.INPUT_SHAPE", shape, "channels, height and width")


def _check_together(cfg: Config) -> None:
    distributed = cfg.DISTRIBUTED
    # VISSL multiplies the seed of a rank with the epochs, and NumPy's ends at 2^32.
    ranks = distributed.NUM_NODES * distributed.NUM_PROC_PER_NODE
    largest = (2**32 - 1) // cfg.OPTIMIZER.num_epochs - ranks
    if largest < cfg.SEED_VALUE:
        _refuse("SEED_VALUE", cfg.SEED_VALUE, f"at most {largest} for this number of epochs")
    if distributed.INIT_METHOD == "env" and not cfg.SLURM.USE_SLURM:
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if missing:
            wanted = f"tcp, or {' and '.join(missing)} set in the environment"
            _refuse("DISTRIBUTED.INIT_METHOD", "env", wanted)
    if cfg.SLURM.USE_SLURM:
        _check_folder("SLURM.LOG_FOLDER", cfg.SLURM.LOG_FOLDER)
        if cfg.SLURM.TIME_HOURS == cfg.SLURM.TIME_MINUTES == 0:
            _refuse("SLURM.TIME_HOURS", 0, "above 0, or config.SLURM.TIME_MINUTES")
    memory = cfg.PROFILING.MEMORY_PROFILING.TRACK_BY_LAYER_MEMORY
    if memory and cfg.MACHINE.DEVICE == "cpu":
        key = "PROFILING.MEMORY_PROFILING.TRACK_BY_LAYER_MEMORY"
        _refuse(key, memory, "False with config.MACHINE.DEVICE cpu")
    if cfg.MACHINE.DEVICE == "cpu" and distributed.BACKEND == "nccl":
        _refuse("DISTRIBUTED.BACKEND", "nccl", "gloo with config.MACHINE.DEVICE cpu")
    run_id, by_address = distributed.RUN_ID, distributed.INIT_METHOD == "tcp"
    found = run_id == "auto" or cfg.SLURM.USE_SLURM  # VISSL finds the address
    is_address = _ADDRESS.fullmatch(run_id) and int(run_id.rpartition(":")[2]) < 2**16
    if by_address and not found and not is_address:
        one_machine = "config.DISTRIBUTED.RUN_ID=auto" + (
            " config.DISTRIBUTED.NUM_NODES=1" if distributed.NUM_NODES > 1 else ""
        )
        wanted = f"auto, or <host>:<port> of the first node; on one machine add {one_machine}"
        _refuse("DISTRIBUTED.RUN_ID", run_id, wanted)
    if cfg.OPTIMIZER.use_larc and not is_apex_available():
        raise ConfigError(
            "config.OPTIMIZER.use_larc is True, which needs apex; without it set False, and "
            "config.OPTIMIZER.name=lars for large batches"
        )
    if cfg.MODEL.AMP_PARAMS.USE_AMP and cfg.MACHINE.DEVICE == "cpu":
        raise ConfigError(
            "config.MODEL.AMP_PARAMS.USE_AMP is True with config.MACHINE.DEVICE cpu; VISSL's mixed "
            "precision is CUDA's: it must be False"
        )
    model = cfg.MODEL
    for key, of_apex in (
        ("SYNC_BN_CONFIG.SYNC_BN_TYPE", model.SYNC_BN_CONFIG.CONVERT_BN_TO_SYNC_BN),
        ("AMP_PARAMS.AMP_TYPE", model.AMP_PARAMS.USE_AMP),
    ):
        on_gpus_here = cfg.MACHINE.DEVICE == "gpu" and not cfg.SLURM.USE_SLURM
        is_apex = of_apex and _value(model, key) == "apex"
        if is_apex and on_gpus_here and not is_apex_available():
            _refuse(f"MODEL.{key}", "apex", "pytorch where apex is not installed")


_NOT_IN_PRETRAINING = {
    "MODEL.SHARDED_DDP_SETUP.USE_SDP": "VISSL would put another task in the place of mscn_task",
    "MODEL.FSDP_CONFIG.AUTO_SETUP_FSDP": "VISSL would put another task in the place of mscn_task",
    "MODEL.FEATURE_EVAL_SETTINGS.EVAL_MODE_ON": "mscn_task trains the trunk",
    "MODEL.FEATURE_EVAL_SETTINGS.FREEZE_TRUNK_ONLY": "mscn_task trains the trunk",
    "MODEL.FEATURE_EVAL_SETTINGS.FREEZE_TRUNK_AND_HEAD": "mscn_task trains the trunk",
    "MODEL.FEATURE_EVAL_SETTINGS.EXTRACT_TRUNK_FEATURES_ONLY": "mscn_task trains the heads",
    "DATA.TRAIN.ENABLE_QUEUE_DATASET": "VISSL fills gaps with whatever was read before, and "
    "mscn_task takes the next image",
    "TEST_MODEL": "there are no classes to test, and config.MSCN.ONLINE_EVALUATION evaluates",
}
"""Switches that mscn_task cannot have on, and why."""


def _check_pretraining(cfg: Config) -> None:
    if cfg.TRAINER.TASK_NAME != "mscn_task":
        return
    for key, reason in _NOT_IN_PRETRAINING.items():
        section, _, name = key.rpartition(".")
        holder = _value(cfg, section) if section else cfg
        if holder.get(name):  # VISSL takes keys of FSDP out once it has read them
            _refuse(key, holder[name], f"False: {reason}")
    if not cfg.MODEL.HEAD.PARAMS:
        raise ConfigError("config.MODEL.HEAD.PARAMS is []; mscn_task needs at least one head")
    for meter in (cfg.METERS.name, *cfg.METERS.names):
        if meter.endswith("_list_meter"):
            _refuse("METERS.name", meter, "empty: embeddings have no classes to count")
    mapping = cfg.MODEL.MULTI_INPUT_HEAD_MAPPING
    if mapping:
        _refuse("MODEL.MULTI_INPUT_HEAD_MAPPING", mapping, "[]: mscn_task has one input")


def check_shape(cfg: Config) -> None:
    """Check all keys against VISSL's defaults: what kind of value each is, and how it is spelled.

    Keys that VISSL does not have may be a loss's, a trunk's or the user's own; they are refused
    where they look like a misspelled one.

    Raises:
        ConfigError: names the first key that is neither.
    """
    _check_shape("", cfg, _with_ours(vissl_defaults()))
    _check_finite("config", cfg)
    _check_transforms(cfg)
    for key in _TEXTS:
        if not isinstance(_value(cfg, key), str) or not _value(cfg, key):
            _refuse(key, _value(cfg, key), "text")


_OPEN = re.compile(
    r"MSCN\.|LOSS\.\w+\.|OPTIMIZER\.|MODEL\.TRUNK\.\w+\.|METERS\.|MODEL\.AMP_PARAMS\.AMP_ARGS\.|"
    r"SLURM\.ADDITIONAL_PARAMETERS\.|DATA\.\w+\.COLLATE_FUNCTION_PARAMS\."
)
"""Sections whose other keys may be a loss's, an optimizer's, a trunk's; these check them."""
_OF_OLDER_PAGES = (
    *("MONITOR_PERF_STATS", "DATA.TRANSFORMS", "DISTRIBUTED.DISTR_ON", "LOSS.ignore_index"),
)
"""Keys that no longer exist and that configs of VISSL still have."""
_OURS = {
    "LOSS": tuple(losses()),
    "MODEL.TRUNK": ("SMALL_RESNET", "HIGH_PASS"),
}
"""Sections of the package in those of VISSL."""
_NULLABLE = (
    *("COLLATE_FUNCTION_PARAMS", "EXPERIMENT_LOG_DIR"),  # in configs of VISSL
    *(name for names in _OURS.values() for name in names),  # defaults alone
)
_SET_BY_VISSL = ("MODEL._MODEL_INIT_SEED", "OPTIMIZER.base_optimizer")
_MAY_LACK = re.compile(
    r"(LOSS|METERS|MODEL\.TRUNK)\.\w+\.|(LOSS|MODEL\.TRUNK)\.(?!name$|NAME$)\w+$|MSCN$"
    r"|MODEL\.FSDP_CONFIG\."
)
"""Sections of which a run reads but one part, and one from which VISSL takes what it has read."""
_ANY_SIGN = re.compile(r"LOSS\.|SVM\.")
_REAL = ("DROPOUT_RATE", "ATTENTION_DROPOUT_RATE", "DROP_PATH_RATE", "ETA", "MAX_NORM", "NORM_TYPE")
"""Keys whose default looks whole and whose values need not be."""


def _with_ours(defaults: dict[str, Any]) -> dict[str, Any]:
    """VISSL's defaults with the package's sections, of which other checks know the keys."""
    completed = copy.deepcopy(defaults)
    completed["MSCN"] = {}
    for path, names in _OURS.items():
        _value(completed, path).update({name: {} for name in names})
    return completed


def _check_shape(path: str, section: Any, defaults: dict[str, Any]) -> None:
    for key in defaults:
        if key not in section and not _MAY_LACK.match(f"{path}{key}"):
            raise ConfigError(f"config.{path}{key} is missing, and VISSL reads it")
    for key, value in section.items():
        if key not in defaults:
            _check_unknown(path, key, value, defaults)
            continue
        if value is None and key in _NULLABLE:
            continue
        if isinstance(value, torch.dtype):
            continue  # VISSL has been here before, and made it of a text
        default = defaults[key]
        kind = next(k for k in _KINDS if isinstance(default, k[0]))
        if not isinstance(value, kind[1]) or (isinstance(value, bool) and bool not in kind[1]):
            _refuse(
                f"{path}{key}", value, kind[2] + _as_text(f"config.{path}{key}", value, default)
            )
        if is_number(default) and not _ANY_SIGN.match(path):
            smallest = default if default < 0 else 0
            if isinstance(default, int) and key not in _REAL and not is_whole(value):
                _refuse(f"{path}{key}", value, "a whole number")
            if value < smallest:
                _refuse(f"{path}{key}", value, f"at least {smallest}")
        if isinstance(default, dict):
            _check_shape(f"{path}{key}.", value, default)


def _as_text(key: str, value: Any, default: Any) -> str:
    """How to type what Hydra has read as a number, or as True or False, where it must be text."""
    if not isinstance(default, str) or not isinstance(value, (int, float)):
        return ""
    return f": {line_to_type(key, str(value))}"


def _check_unknown(path: str, key: Any, value: Any, defaults: dict[str, Any]) -> None:
    """Refuse a key of its own in a section of VISSL's, and a name that is nearly one of VISSL's.

    A section of one's own may stand anywhere, with any keys.
    """
    name = f"{path}{key}"
    if name in _OF_OLDER_PAGES or name in _SET_BY_VISSL:
        return
    is_open = bool(_OPEN.match(path))
    # Top-level sections of one's own are rare; a loss's keys are like another's.
    cutoff = 0.6 if not path else 0.85 if is_open else 0.75
    near = difflib.get_close_matches(str(key), defaults, n=1, cutoff=cutoff)
    if near:
        names = f"config.{name} is not a key of VISSL; did you mean config.{path}"
        raise ConfigError(f"{names}{near[0]}?")
    if not isinstance(value, dict) and not is_open:
        raise ConfigError(
            f"config.{name} is not a key of VISSL; {suggestion(str(key), defaults)} (a key of your "
            "own needs a section of its own)"
        )


def _check_finite(path: str, value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_finite(f"{path}.{key}", inner)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _check_finite(f"{path}[{index}]", inner)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path} is {value!r}; it must be a finite number")


def _check_transforms(cfg: Config) -> None:
    for split in _SPLITS:
        for index, transform in enumerate(cfg.DATA[split].TRANSFORMS):
            if not isinstance(transform, dict) or not isinstance(transform.get("name"), str):
                key = f"DATA.{split}.TRANSFORMS[{index}]"
                _refuse(key, transform, "a section with the transform's name and its settings")


_ANY = (object, bool)
_KINDS: tuple[tuple[Any, tuple[Any, ...], str], ...] = (
    (dict, (dict,), "a section"),
    (bool, (bool,), "True or False"),
    ((int, float), (int, float), "a number"),
    (list, (list,), "a list"),
    (str, (str,), "text"),
    (object, _ANY, ""),
)
"""Of a default: its type, what a value may be in its place, and how that is called."""


def meant_by(key: str) -> str:
    """``; did you mean ...?`` for a dotted key that VISSL does not have, or nothing."""
    section: Any = {"config": vissl_defaults()}
    path = []
    for name in key.split("."):
        if not isinstance(section, dict):
            return ""
        near = difflib.get_close_matches(name, section, n=1)
        if not near:
            return ""
        path.append(near[0])
        section = section[near[0]]
    return f"; did you mean {'.'.join(path)}?" if ".".join(path) != key else ""


@functools.cache
def vissl_defaults() -> dict[str, Any]:
    """The ``config`` part of VISSL's ``defaults.yaml``."""
    import vissl.config
    from omegaconf import OmegaConf

    # As Hydra reads it: to PyYAML 1e-5 is text.
    file = Path(vissl.config.__file__).with_name("defaults.yaml")
    return OmegaConf.to_container(OmegaConf.load(str(file)).config)  # type: ignore[return-value]


def _check_checkpoint_folder(cfg: Config) -> None:
    _check_folder("CHECKPOINT.DIR", cfg.CHECKPOINT.DIR)


def _check_folder(key: str, name: str) -> None:
    folder = Path(name)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        _refuse(key, name, f"a folder, and {str(existing)!r} is a file")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError:
        _refuse(key, name, f"writable, and {str(existing)!r} is not")


def _transform_names(cfg: Config) -> Iterator[tuple[str, str]]:
    for split in _SPLITS:
        for index, transform in enumerate(cfg.DATA[split].TRANSFORMS):
            yield f"DATA.{split}.TRANSFORMS[{index}].name", transform["name"]


def _of_torchvision(name: str) -> bool:
    """Whether Classy Vision would find the transform there, in snake case, too."""
    names = (name, name.title().replace("_", ""))
    return any(hasattr(torchvision_transforms, n) for n in names) or name.endswith("Video")


def _value(cfg: Config | dict[str, Any], key: str) -> Any:
    return functools.reduce(operator.getitem, key.split("."), cfg)


def _refuse(key: str, value: Any, wanted: str) -> None:
    raise ConfigError(f"config.{key} is {value!r}; it must be {wanted}")


def _refuse_name(key: str, name: Any, known: Any) -> None:
    meant = suggestion(str(name), known)
    raise ConfigError(f"config.{key} is {name!r}, which is not registered; {meant}")


RULES = (
    _check_whole_numbers,
    _check_frequencies,
    _check_numbers,
    _check_choices,
    _check_registered,
    _check_lists,
    _check_heads,
    _check_together,
    _check_pretraining,
    _check_checkpoint_folder,
)
"""Of VISSL's keys, behind :func:`check_shape`."""
