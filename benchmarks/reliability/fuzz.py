"""Wrong configurations by rule: every key of our configs, each with values that cannot be right.

From the keys that a config says or inherits, and the values that stand there, follow mutations
whose outcome must be a refusal: null, another type, a number out of its range, a name that is not
registered, a misspelled key, a key that is missing. What is legitimate all the same is said in
:data:`LEGITIMATE`. Beside them stand crossings, whose parts are right and do not fit together.
Nothing is drawn: the same configs give the same configurations.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from benchmarks.reliability.configs import BYOL, OPT, C, D, H, L, M, S, T, said_of
from mscn_plugin.config.composed import store_schema
from mscn_plugin.config.folder import config_folder

CONFIGS = ("mscn/quickstart", "mscn/byol_quickstart")

LEGITIMATE: list[tuple[str, str, str]] = [
    # keys and kinds, both as regular expressions, and why the configuration is right
    (r".*\.(focal_size|num_masks|PRETRAINING_SIGMA)", "null", "null takes the default"),
    (r".*COLLATE_FUNCTION_PARAMS", "null", "no parameters"),
    (r".*\.SMALL_RESNET", "null", "the trunk's defaults"),
    (r".*LOSS\.(mscn_info_nce|byol)_loss", "null", "the loss's defaults"),
    (r".*(CHECKPOINT\.DIR|SLURM\.NAME)", "no such name", "any name will do"),
    (r".*\.TEST\.(DATA_SOURCES|LABEL_SOURCES|DATASET_NAMES)", "empty", "the folder has no val/"),
    (r".*\.SKIP_LAYERS", "empty", "no layers"),
    (r".*MODEL\.HEAD\.PARAMS", "empty", "tried as a crossing"),
    (r".*\.TEST\.TRANSFORMS", "empty", "tried as a crossing"),
    (r".*\.(PROGRESS_BAR|DEVICE_VIEWS)", "true for text", "True is one of their values"),
    (r".*COLLATE_FUNCTION_PARAMS\.\w+", "a number for a list", "one value for both branches"),
    (r".*\.warmup_epochs", "a fraction.*", "of an epoch"),
    (r".*OPTIMIZER\.(eta|exclude_bias_and_norm)", "missing", "the optimizer's defaults"),
    (r".*TRUNK\.RESNETS(\.DEPTH)?", "missing", "small_resnet reads none of them"),
]


TAKEN = "right, and must be taken"


@dataclasses.dataclass(frozen=True)
class Case:
    """A configuration that must be refused, and where its message has to point.

    Attributes:
        config: VISSL's ``config=``.
        kind: of the mutation.
        key: that was changed.
        overrides: after the config.
    """

    config: str
    kind: str
    key: str
    overrides: tuple[str, ...]

    def is_named_in(self, said: str) -> bool:
        """Whether a message has the key's last name, or that of the section or list around it."""
        names = [name for name in self.key.split(".") if not name.isdigit()]
        return any(re.search(rf"\b{re.escape(name)}", said) for name in names[-2:])


def cases(configs: Sequence[str] = CONFIGS) -> list[Case]:
    """All cases: of each config those of keys that no config before it has with this value."""
    known: set[tuple[str, str]] = set()
    found: list[Case] = []
    for config in configs:
        new = [(k, v) for k, v in keys_of(config) if (k, repr(v)) not in known]
        known.update((key, repr(value)) for key, value in new)
        found.extend(case for key, value in new for case in _mutations(config, key, value))
    return [case for case in found if not _is_legitimate(case)] + CROSSINGS


def keys_of(config: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys that a config says or inherits, sections and entries of lists too."""
    store_schema()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        written = OmegaConf.to_container(compose(overrides=[f"+config={config}"]).config)
    yield from _walk("config", written)


def _walk(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if path != "config":
        yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(f"{path}.{key}", inner)
    elif isinstance(value, list) and any(isinstance(inner, (dict, list)) for inner in value):
        for index, inner in enumerate(value):
            yield from _walk(f"{path}.{index}", inner)


def _mutations(config: str, key: str, value: Any) -> Iterator[Case]:
    section, _, name = key.rpartition(".")

    def case(kind: str, override: str) -> Case:
        return Case(config, kind, key, (override,))

    def put(kind: str, text: str) -> Case:
        return case(kind, f"{key}={text}")

    if value is not None:
        yield put("null", "null")
    if not name.isdigit() and not section.split(".")[-1].isdigit():
        yield case("misspelled", f"+{section}.{_misspelled(name)}={_text(value)}")
    if not re.search(r"TRANSFORMS|PARAMS|LOSS|MSCN|SMALL_RESNET|param_schedulers\.lr\.", key):
        yield case("missing", f"~{key}")
    if isinstance(value, bool):
        yield from (put("a number for a switch", "2"), put("text for a switch", "maybe"))
        yield put("a list for a switch", "[True]")
    elif isinstance(value, (int, float)):
        yield from (put("text for a number", "many"), put("true for a number", "True"))
        yield from (put("not a number", "nan"), put("infinite", "inf"))
        yield from (put("a list for a number", "[1,2,3]"), put("a section for a number", "{a:1}"))
        yield put("below all ranges", "-3")
        if isinstance(value, int) and not name.isdigit() and name != "sigma":
            yield put("a fraction for a whole number", "1.5")
    elif isinstance(value, str):
        yield from (put("a number for text", "7"), put("true for text", "True"))
        yield from (put("a list for text", "[a]"), put("no such name", "no_such_name"))
    elif isinstance(value, list):
        yield from (put("a number for a list", "3"), put("text for a list", "some"))
        yield from (put("a section for a list", "{a:1}"), put("null in a list", "[null]"))
        yield put("empty", "[]")
    elif isinstance(value, dict):
        yield from (put("a number for a section", "3"), put("a list for a section", "[1]"))
        yield put("text for a section", "some")


def _misspelled(name: str) -> str:
    """The name with its last letter twice, or its first two exchanged where that is a change."""
    return (
        name + name[-1] if name[:1] == name[1:2] or len(name) < 4 else name[1] + name[0] + name[2:]
    )


def _text(value: Any) -> str:
    return "1" if isinstance(value, (dict, list)) or value is None else repr(value)


def _is_legitimate(case: Case) -> bool:
    return any(
        re.fullmatch(keys, case.key) and re.fullmatch(kinds, case.kind)
        for keys, kinds, _ in LEGITIMATE
    )


_CROP = "{name:RandomResizedCrop,size:56}"
_TENSOR = (
    "{name:ToTensor},{name:Normalize,mean:[0.485,0.456,0.406],std:[0.229,0.224,0.225]},"
    "{name:MSCNHighPass,sigma:1.25}"
)
_RESNET = ("config.MODEL.TRUNK.NAME=resnet", f"{H}=[[mlp,{{dims:[null,64]}}]]")
_TWICE = "{name:ImgReplicatePil,num_times:2}"


def _crossing(kind: str, key: str, *overrides: str, config: str = CONFIGS[0]) -> Case:
    return Case(config, f"crossing: {kind}", key, overrides)


CROSSINGS: list[Case] = [
    _crossing("one view", D, f"{T}=[{_CROP},{_TENSOR}]"),
    _crossing("three views", T, f"{T}=[{{name:ImgReplicatePil,num_times:3}},{_CROP},{_TENSOR}]"),
    _crossing("no tensors", D, f"{T}=[{_TWICE},{_CROP}]"),
    _crossing("no transforms", D, f"{T}=[]"),
    _crossing("tensors too early", T, f"{T}=[{_TWICE},{{name:ToTensor}},{{name:ToTensor}}]"),
    _crossing("filter before tensors", T, f"{T}=[{_TWICE},{{name:MSCNHighPass}},{_CROP}]"),
    _crossing("no crop to one size", T, f"{T}=[{_TWICE},{{name:Resize,size:1.5}},{_TENSOR}]"),
    _crossing("no such interpolation", f"{T}.1.interpolation", f"+{T}.1.interpolation=99"),
    _crossing("misspelled strength", f"{T}.3.strenght", f"+{T}.3.strenght=2"),
    _crossing("misspelled blur", f"{T}.4.radius_maxi", f"+{T}.4.radius_maxi=2"),
    _crossing("more than always", f"{T}.2.p", f"{T}.2.p=2"),
    _crossing("least above most", f"{T}.4.radius_min", f"{T}.4.radius_min=3"),
    _crossing("a hue beyond the circle", f"{T}.3", f"{T}.3.strength=5"),
    _crossing("scale the wrong way", f"{T}.1.scale", f"+{T}.1.scale=[1,0.2]"),
    _crossing("scale of two images", f"{T}.1.scale", f"+{T}.1.scale=[0.2,2]"),
    _crossing("two channels' means", f"{T}.6.mean", f"{T}.6.mean=[0.5,0.5]"),
    _crossing("a deviation of 0", f"{T}.6.std", f"{T}.6.std=[0,0.2,0.2]"),
    _crossing("no dims", H, f"{H}.0.1.dims=[]"),
    _crossing("one of dims", H, f"{H}.0.1.dims=[null]"),
    _crossing("dims of 0", H, f"{H}.0.1.dims=[null,0]"),
    _crossing("dims as text", H, f"{H}.0.1.dims=[null,many]"),
    _crossing("null within dims", H, f"{H}.0.1.dims=[null,null,128]"),
    _crossing("heads that do not chain", H, f"{H}.1.1.dims=[64,64]"),
    _crossing("heads of no layers", H, f"{H}=[]"),
    _crossing("maybe batch normalization", H, f"{H}.0.1.use_bn=maybe"),
    _crossing("misspelled batch normalization", H, f"+{H}.0.1.use_bnn=True"),
    _crossing("a head of 4D features", H, f"{H}=[[siamese_concat_view,{{num_towers:3}}]]"),
    _crossing("a head without its arguments", H, f"{H}=[[eval_mlp,{{dims:[128,64]}}]]"),
    _crossing("misspelled eta", f"{OPT}.etaa", f"{OPT}.name=lars", f"+{OPT}.etaa=1"),
    _crossing("a rate that nobody reads", f"{OPT}.lr", f"+{OPT}.lr=0.1"),
    _crossing("negative eta", f"{OPT}.eta", f"{OPT}.name=lars", f"+{OPT}.eta=-1"),
    _crossing("nesterov alone", OPT, f"{OPT}.nesterov=True", f"{OPT}.momentum=0"),
    _crossing("nesterov of LARS", OPT, f"{OPT}.nesterov=True", f"{OPT}.name=lars"),
    _crossing("betas of three", f"{OPT}.betas", f"{OPT}.name=adam", f"{OPT}.betas=[0.9,0.9,0.9]"),
    _crossing("beta of 1", f"{OPT}.betas", f"{OPT}.name=adam", f"{OPT}.betas=[0.9,1]"),
    _crossing("steps without values", S, f"{S}.name=multistep", f"{S}.milestones=[2,4]"),
    _crossing("a step schedule of nothing", S, f"{S}.name=composite"),
    _crossing("misspelled schedule key", S, f"{S}.name=cosine", f"+{S}.end_valeu=0"),
    _crossing("a cosine from 0", S, f"{S}.name=cosine", f"{S}.start_value=0"),
    _crossing("no images", f"{D}.DATA_LIMIT", f"{D}.DATA_LIMIT=0"),
    _crossing("fewer images than a batch", f"{D}.DATA_LIMIT", f"{D}.DATA_LIMIT=10"),
    _crossing("a last batch of 1", D, f"{D}.DROP_LAST=False", f"{D}.BATCHSIZE_PER_REPLICA=53"),
    _crossing("NCCL on a CPU", "config.DISTRIBUTED.BACKEND", "config.DISTRIBUTED.BACKEND=nccl"),
    _crossing("no such rendezvous", "config.DISTRIBUTED", "config.DISTRIBUTED.INIT_METHOD=udp"),
    _crossing("no address", "config.DISTRIBUTED.RUN_ID", "config.DISTRIBUTED.RUN_ID=here"),
    _crossing("mixed precision", "config.MODEL.AMP_PARAMS", "config.MODEL.AMP_PARAMS.USE_AMP=True"),
    _crossing("no such depth", "config.MODEL", "config.MODEL.TRUNK.SMALL_RESNET.DEPTH=50"),
    _crossing("another depth", "config.MODEL", *_RESNET, "config.MODEL.TRUNK.RESNETS.DEPTH=20"),
    _crossing("cells beyond the crop", f"{C}.cell_size", f"{T}.1.size=32", f"{C}.cell_size=40"),
    _crossing(
        "a filter beyond the crop", D, f"{T}.1.size=16", f"{C}.cell_size=4", f"{T}.7.sigma=5"
    ),
    _crossing("filters that differ", "config.DATA.TEST", f"{T}.7.sigma=2"),
    _crossing("K of the loss", L, f"{C}.num_masks=3", f"{L}.mscn_info_nce_loss.num_masks=2"),
    _crossing("another loss with masks", C, f"{L}.name=simclr_info_nce_loss"),
    _crossing("no collator for two views", D, f"{D}.COLLATE_FUNCTION=default_collate"),
    _crossing("a collator's parameters", C, f"{D}.COLLATE_FUNCTION=simclr_collator"),
    _crossing("misspelled mask key", C, f"+{C}.rato=0.1"),
    _crossing("a target without one", M, f"{M}.ONLINE_EVALUATION.NETWORK=target"),
    _crossing("one head of BYOL", H, BYOL, f"{H}=[[mlp,{{dims:[null,64]}}]]"),
]


RIGHT: list[tuple[str, ...]] = [
    *((f"config={config}",) for config in CONFIGS),
    (f"{OPT}.momentum=0",),
    (f"{OPT}.num_epochs=1",),
    (f"{OPT}.name=lars", f"+{OPT}.eta=0.01"),
    (f"+{OPT}.eta=1",),  # a key of another optimizer stays behind where the name alone is changed
    (f"{OPT}.name=adam", f"{OPT}.betas=[0.9,0.98]"),
    (f"{T}.3.strength=0.5", f"{T}.2.p=0"),
    (f"+{T}.1.scale=[0.2,1]", f"+{T}.1.interpolation=3"),
    (f"{T}.1.size=[56,56]",),
    (f"{H}=[[mlp,{{dims:[null,64]}}]]",),
    (f"{C}.noise_std=0.3", f"{C}.focal_size=20"),
    (f"{D}.DATA_LIMIT=80",),
    (f"{D}.DROP_LAST=False",),
    ("+config.RESEARCH.rate=3", "+config.DATA.RESEARCH.key=4"),
]
"""Configurations that must be taken: checks that refuse everything would be easy."""


def run_all(data: Path, configs: Sequence[str] = CONFIGS, every: int = 1) -> list[dict[str, Any]]:
    """Try every case, or each ``every``-th one; a row for each, with its message.

    The last rows are those of :data:`RIGHT`, for which there must be no message.

    Args:
        data: a folder of labeled images, in the place of the configs' own data.
    """
    taken = cases(configs)[::every]
    logging.disable(logging.WARNING)
    try:
        wrong = [_try(case, data) for case in taken]
        return wrong + [_try(Case(configs[0], TAKEN, "", right), data) for right in RIGHT]
    finally:
        logging.disable(logging.NOTSET)


def _try(case: Case, data: Path) -> dict[str, Any]:
    own = () if case.key == f"{M}.DATA" else (f"{M}.DATA={data}",)
    config = (
        () if any(o.startswith("config=") for o in case.overrides) else (f"config={case.config}",)
    )
    row: dict[str, Any] = {"what": case.kind, "overrides": [*config, *case.overrides]}
    try:
        said = said_of([*config, *own, *case.overrides])
    except Exception as error:
        said = f"traceback: {type(error).__name__}: {error}"
        return {**row, "said": said, "right": False}
    if case.kind == TAKEN:
        return {**row, "said": said, "right": said is None}
    return {**row, "said": said, "right": said is not None and case.is_named_in(said)}
