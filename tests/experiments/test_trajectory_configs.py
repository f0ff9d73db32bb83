"""The configs of Figure 1: what each changes, and that it passes the checks and trains."""

from __future__ import annotations

import copy
import functools

import pytest
import yaml
from vissl.data.collators import get_collator

from mscn_plugin.config import composed as config
from mscn_plugin.config.folder import config_folder
from mscn_plugin.config.hydra_overrides import values_of
from mscn_plugin.experiments.definitions import SUITES
from mscn_plugin.experiments.scales import SCALES, config_of
from mscn_plugin.vissl.command_line import configs, is_base

NAMES = [name.split("/")[-1] for name in configs() if name.startswith("mscn/trajectory/")]
CONFIGS = config_folder() / "config"


@pytest.fixture(scope="module")
def composed(registered):
    """The ``config`` part of a config, by its name below ``mscn``."""
    parts = functools.cache(config.composed)
    return lambda name: copy.deepcopy(parts(f"mscn/{name}"))


def leaves(section, path=()):
    for key, value in section.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def test_every_config_is_in_a_suite():
    used = {experiment.config for suite in SUITES.values() for experiment in suite}
    assert used == set(NAMES)


def test_the_page_about_experiments_counts_the_runs(composed):
    page = " ".join((CONFIGS.parents[1] / "docs" / "experiments.md").read_text().split())
    runs = {
        (e.config, *SCALES["paper"].overrides(e, composed(f"trajectory/{e.config}"), 0))
        for name, suite in SUITES.items()
        if name not in ("study", "settings")
        for e in suite
    }
    assert f"All suites except `study` and `settings` together have {len(runs)} different" in page
    assert len(SUITES["study"]) == 13
    assert "`study` is thirteen runs" in page


@pytest.mark.parametrize("name", NAMES)
def test_differs_from_its_parent_in_the_keys_that_it_names_and_in_all_of_them(composed, name):
    text = yaml.safe_load((CONFIGS / f"mscn/trajectory/{name}.yaml").read_text())
    inherited = [entry.lstrip("/").partition("/")[2] for entry in text["defaults"][:-1]]
    parts = [name for name in inherited if is_base(name) or "/augmentations/" in name]
    (parent,) = [name for name in inherited if name not in parts]
    before = dict(leaves(composed(parent.partition("/")[2])))
    after = dict(leaves(composed(f"trajectory/{name}")))
    said = [text, *(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()) for name in parts)]
    named = {path for part in said for path, _ in leaves(part["config"])}
    different = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert different <= named
    # A switch that changes nothing would say something that is not so.
    unchanged = named - different
    assert unchanged <= {("CHECKPOINT", "DIR")}


@pytest.mark.parametrize("name", NAMES)
def test_composes_and_passes_all_checks_at_the_papers_size(compose, batch_folder, name):
    config = compose(
        f"config=mscn/trajectory/{name}",
        f"config.MSCN.DATA={batch_folder}",
        "+config/mscn/machine=cpu",
    )
    filtered = any(t["name"] == "MSCNHighPass" for t in config.DATA.TRAIN.TRANSFORMS)
    assert filtered == any(t["name"] == "MSCNHighPass" for t in config.DATA.TEST.TRANSFORMS)
    assert filtered == (
        name
        not in (
            "01_mask_only",
            "baseline_crop_only",
            "baseline_naive_mask",
            "baseline_standard",
            "control_crop_masks",
            "control_no_filter",
        )
    )


def test_the_tenth_step_is_the_ablations_base(composed):
    step, base = composed("trajectory/10_multimask"), composed("simclr_100ep")
    base["CHECKPOINT"]["DIR"] = step["CHECKPOINT"]["DIR"]
    assert step == base


EXPERIMENTS = {e.name: e for suite in SUITES.values() for e in suite}
IN_SMALL = (
    "config.MSCN.TRAIN_SUBSET=1.0",
    "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=16",
    "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
)


@pytest.fixture
def smoke(composed, image_folder):
    """Arguments that VISSL's tool gets for an experiment at the scale of seconds."""

    def arguments(experiment):
        config = composed(f"trajectory/{experiment.config}")
        return [
            f"config={config_of(experiment)}",
            *SCALES["smoke"].overrides(experiment, config, seed=0),
            f"config.MSCN.DATA={image_folder}",
            *IN_SMALL,
        ]

    return arguments


KINDS = {(e.config, *(k for k, _ in e.settings), bool(e.sigma)): e for e in EXPERIMENTS.values()}
"""An experiment of each kind: others differ from it in values of its settings alone."""


@pytest.mark.parametrize("name", [e.name for e in KINDS.values() if e.settings or e.sigma])
def test_an_experiment_of_every_kind_passes_all_checks_with_its_settings(compose, smoke, name):
    """Beside those of the configs themselves, which pass them at the paper's size."""
    experiment = EXPERIMENTS[name]
    train = compose(*smoke(experiment)).DATA.TRAIN
    masks, wanted = train.COLLATE_FUNCTION_PARAMS, settings_in_small(experiment)
    assert {key: masks[key] for key in wanted} == wanted
    if experiment.sigma is not None:
        sigmas = [t["sigma"] for t in train.TRANSFORMS if t["name"] == "MSCNHighPass"]
        assert sigmas == [experiment.sigma * SCALES["smoke"].factor]


@pytest.mark.parametrize("name", [e.name for e in EXPERIMENTS.values() if e.settings or e.sigma])
def test_every_experiment_is_given_its_settings(composed, smoke, name):
    experiment = EXPERIMENTS[name]
    given = dict(values_of(smoke(experiment)))
    path = "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS"
    named = {k.removeprefix(f"{path}."): v for k, v in given.items() if k.startswith(path)}
    collator = composed(f"trajectory/{experiment.config}")["DATA"]["TRAIN"]
    masks, wanted = {**collator["COLLATE_FUNCTION_PARAMS"], **named}, settings_in_small(experiment)
    get_collator(collator["COLLATE_FUNCTION"], masks)  # refuses values that cannot be
    assert {key: masks[key] for key in wanted} == wanted
    if experiment.sigma is not None:
        sigmas = {value for key, value in given.items() if key.endswith(".sigma")}
        assert sigmas == {experiment.sigma * SCALES["smoke"].factor}


def settings_in_small(experiment):
    """The settings of an experiment's masks at the scale of seconds."""
    settings = dict(experiment.settings)
    for key in {"cell_size", "focal_size"} & settings.keys():
        settings[key] = max(1, round(settings[key] * SCALES["smoke"].factor))
    return settings


@pytest.mark.process
@pytest.mark.parametrize("name", ["01_mask_only", "11_final", "baseline_standard", "same_view"])
def test_configs_train_two_iterations_through_the_launcher(run_tool, smoke, tmp_path, name):
    """The first, the last, none of the masks, and none of the crops: others lie between them."""
    experiment = next(e for e in EXPERIMENTS.values() if e.config == name)
    run_tool(*smoke(experiment), "config.CHECKPOINT.DIR=run")
    assert (tmp_path / "run" / "model_final_checkpoint_phase0.torch").is_file()
    assert "Total 2 iterations for training" in (tmp_path / "run" / "log.txt").read_text()
