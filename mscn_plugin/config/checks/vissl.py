"""Checks of VISSL's own keys, which VISSL itself checks in its workers or not at all."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from vissl.models.trunks import MODEL_TRUNKS_REGISTRY
from vissl.trainer.train_steps import TRAIN_STEP_REGISTRY
from vissl.utils.misc import is_apex_available

from mscn_plugin.allowed import ABOVE_ZERO_TO_ONE, BELOW_ONE, POSITIVE, Allowed, one_of, whole
from mscn_plugin.allowed import refuse as refuse_key
from mscn_plugin.config import frozen_parameters
from mscn_plugin.config.checks.transforms import transform_class
from mscn_plugin.data.sources import SOURCES
from mscn_plugin.errors import ConfigError, suggestion
from mscn_plugin.schema import is_pretraining, num_processes
from mscn_plugin.types import Config, is_whole, value_at

_SPLITS = ("TRAIN", "TEST")
_SOME = whole(1)
_NEVER_OR = Allowed(
    "a whole number of at least 1, or -1 for never",
    lambda value: is_whole(value) and (value == -1 or value >= 1),
)
_TEXTS = Allowed("a list of texts", lambda value: all(isinstance(entry, str) for entry in value))
_LABEL_TYPES = one_of("standard", "sample_index", "zero")
_SCALINGS = one_of("linear", "sqrt")
_VALUES: dict[str, Allowed] = {
    # Beyond the defaults' kinds, 0 or a positive number (:mod:`mscn_plugin.config.checks.keys`).
    **dict.fromkeys(
        (
            "LOG_FREQUENCY",
            "TEST_EVERY_NUM_EPOCH",
            "OPTIMIZER.num_epochs",
            "DATA.TRAIN.BATCHSIZE_PER_REPLICA",
            "DATA.TEST.BATCHSIZE_PER_REPLICA",
            "DATA.DDP_BUCKET_CAP_MB",
            "DISTRIBUTED.NUM_NODES",
            "DISTRIBUTED.NUM_PROC_PER_NODE",
            "CHECKPOINT.CHECKPOINT_FREQUENCY",
            "CHECKPOINT.LATEST_CHECKPOINT_RESUME_FILE_NUM",
            "HOOKS.TENSORBOARD_SETUP.LOG_PARAMS_EVERY_N_ITERS",
            "MODEL.ACTIVATION_CHECKPOINTING.NUM_ACTIVATION_CHECKPOINTING_SPLITS",
            "MODEL.CUDA_CACHE.CLEAR_FREQ",
            "NEAREST_NEIGHBOR.TOPK",
            "PROFILING.NUM_ITERATIONS",
            "SLURM.MEM_GB",
            "SLURM.NUM_CPU_PER_PROC",
            "SLURM.PORT_ID",
        ),
        _SOME,
    ),
    "CHECKPOINT.CHECKPOINT_ITER_FREQUENCY": _NEVER_OR,
    "HOOKS.PERF_STATS.PERF_STAT_FREQUENCY": _NEVER_OR,
    "HOOKS.PERF_STATS.ROLLING_BTIME_FREQ": _NEVER_OR,
    "OPTIMIZER.momentum": BELOW_ONE,
    "MODEL.GRAD_CLIP.MAX_NORM": POSITIVE,
    "MODEL.GRAD_CLIP.NORM_TYPE": POSITIVE,
    "MODEL.HEAD.BATCHNORM_EPS": POSITIVE,
    "MODEL.HEAD.BATCHNORM_MOMENTUM": ABOVE_ZERO_TO_ONE,
    "MODEL.HEAD.PARAMS_MULTIPLIER": POSITIVE,
    "NEAREST_NEIGHBOR.SIGMA": POSITIVE,
    "MACHINE.DEVICE": one_of("cpu", "gpu"),
    "CHECKPOINT.BACKEND": one_of("disk"),
    "MULTI_PROCESSING_METHOD": one_of("fork", "forkserver", "spawn"),
    "DISTRIBUTED.BACKEND": one_of("gloo", "nccl"),
    "DISTRIBUTED.INIT_METHOD": one_of("tcp", "file", "env"),
    **{f"DATA.{split}.LABEL_TYPE": _LABEL_TYPES for split in _SPLITS},
    **{f"DATA.{split}.BASE_DATASET": one_of("generic_ssl") for split in _SPLITS},
    "MODEL.INPUT_TYPE": one_of("rgb", "bgr", "lab"),
    "MODEL.SYNC_BN_CONFIG.SYNC_BN_TYPE": one_of("apex", "pytorch"),
    "MODEL.AMP_PARAMS.AMP_TYPE": one_of("apex", "pytorch"),
    "OPTIMIZER.param_schedulers.lr.auto_lr_scaling.scaling_type": _SCALINGS,
    "OPTIMIZER.param_schedulers.lr_head.auto_lr_scaling.scaling_type": _SCALINGS,
    "METERS.names": _TEXTS,
    "MODEL.WEIGHTS_INIT.SKIP_LAYERS": _TEXTS,
    "MODEL.NON_TRAINABLE_PARAMS": _TEXTS,
    "OPTIMIZER.non_regularized_parameters": _TEXTS,
    **{f"DATA.{split}.{side}_PATHS": _TEXTS for split in _SPLITS for side in ("DATA", "LABEL")},
    **{
        f"DATA.{split}.{side}_KEY_NAMES": _TEXTS
        for split in _SPLITS
        for side in ("INPUT", "TARGET")
    },
    **{f"DATA.{split}.DATASET_NAMES": _TEXTS for split in _SPLITS},
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
_LABEL_SOURCES = ("disk_filelist", "torchvision_dataset", "synthetic")  # of VISSL
_ADDRESS = re.compile(r"\[?[^\s/]+\]?:\d+")


def _check_values(cfg: Config) -> None:
    for key, allowed in _VALUES.items():
        allowed.check(f"config.{key}", value_at(cfg, key))


def _check_registered(cfg: Config) -> None:
    for key, registry in _NAMES.items():
        if value_at(cfg, key) not in (*registry, *_UNREGISTERED.get(key, ())):
            refuse_name(key, value_at(cfg, key), registry)
    if cfg.LOSS.name not in LOSS_REGISTRY and not hasattr(torch_losses, str(cfg.LOSS.name)):
        refuse_name("LOSS.name", cfg.LOSS.name, LOSS_REGISTRY)
    for path, name in _transform_names(cfg):
        # Classy Vision finds a name that ends so in torchvision's transforms of videos.
        if transform_class(name) is None and not name.endswith("Video"):
            refuse_name(path, name, [*TRANSFORM_REGISTRY, *dir(torchvision_transforms)])


def _check_lists(cfg: Config) -> None:
    """Check what stands in lists: sources, meters' k, the classes of layers."""
    for split in _SPLITS:
        for side, known in (
            ("DATA", (*DATASET_SOURCE_MAP, *SOURCES)),
            ("LABEL", (*_LABEL_SOURCES, *SOURCES)),
        ):
            for source in cfg.DATA[split][f"{side}_SOURCES"]:
                if source not in known:
                    refuse_name(f"DATA.{split}.{side}_SOURCES", source, known)
        limit = cfg.DATA[split].DATA_LIMIT
        if limit == 0:
            _refuse(f"DATA.{split}.DATA_LIMIT", limit, "-1, which takes all, or at least 1")
    for name in cfg.METERS.names:
        if name not in METER_REGISTRY:
            refuse_name("METERS.names", name, METER_REGISTRY)
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
        if not pair or not isinstance(entry[0], str) or not frozen_parameters.is_time(entry[1]):
            refuse_key(frozen_parameters.KEY, entry, frozen_parameters.WANTED)
    ranks, shape = cfg.PROFILING.PROFILED_RANKS, cfg.HOOKS.MODEL_COMPLEXITY.INPUT_SHAPE
    if not all(map(is_whole, ranks)):
        _refuse("PROFILING.PROFILED_RANKS", ranks, "a list of whole numbers")
    if len(shape) != 3 or not all(is_whole(size) and size > 0 for size in shape):
        _refuse("HOOKS.MODEL_COMPLEXITY.INPUT_SHAPE", shape, "channels, height and width")


def _check_together(cfg: Config) -> None:
    distributed = cfg.DISTRIBUTED
    # VISSL multiplies the seed of a rank with the epochs, and NumPy's ends at 2^32.
    ranks = num_processes(cfg)
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
        is_apex = of_apex and value_at(model, key) == "apex"
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
    if not is_pretraining(cfg):
        return
    for key, reason in _NOT_IN_PRETRAINING.items():
        section, _, name = key.rpartition(".")
        holder = value_at(cfg, section) if section else cfg
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


def _refuse(key: str, value: Any, wanted: str) -> None:
    refuse_key(f"config.{key}", value, wanted)


def refuse_name(key: str, name: Any, known: Any) -> None:
    """Raise ConfigError: the name at ``config.<key>`` is not one of those that are known."""
    meant = suggestion(str(name), known)
    raise ConfigError(f"config.{key} is {name!r}, which is not registered; {meant}")


_RULES = (
    _check_values,
    _check_registered,
    _check_lists,
    _check_together,
    _check_pretraining,
    _check_checkpoint_folder,
)


def check(cfg: Config) -> None:
    """Check VISSL's keys, of which :mod:`mscn_plugin.config.checks.keys` knows kind and name.

    Raises:
        ConfigError: a key has a value that it cannot have; the message names both.
    """
    for rule in _RULES:
        rule(cfg)
