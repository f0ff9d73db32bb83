from __future__ import annotations

import pytest

from mscn_plugin.experiments.definitions import BASE_RATIO, SUITES, Experiment, around
from mscn_plugin.experiments.scales import SCALES
from mscn_plugin.masking import MaskDistribution

CONFIG = {
    "DATA": {
        "TRAIN": {
            "TRANSFORMS": [
                {"name": "ImgReplicatePil", "num_times": 2},
                {"name": "RandomResizedCrop", "size": 224},
                {"name": "MSCNHighPass", "sigma": 5.0},
            ],
            "COLLATE_FUNCTION_PARAMS": {"cell_size": 32, "ratio": 0.3},
        },
        "TEST": {
            "TRANSFORMS": [
                {"name": "Resize", "size": 256},
                {"name": "CenterCrop", "size": 224},
                {"name": "MSCNHighPass", "sigma": 5.0},
            ]
        },
    }
}
PARAMS = "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS"


def one(suite, name):
    return next(e for e in SUITES[suite] if e.name == name)


def test_the_papers_numbers_are_those_of_its_tables():
    paper = {suite: [e.paper for e in experiments] for suite, experiments in SUITES.items()}
    assert paper["table5"] == [67.5, 67.6, 67.5, 67.4, 67.4, 66.8, 66.2, 62.6]
    assert paper["table6"] == [67.1, 67.2, 67.4, 67.4, 67.2]
    assert paper["table7"] == [29.1, 65.6]
    assert paper["table8"] == [67.0, 67.0, 67.4, 67.5, 67.6, 67.5]
    assert paper["table9"] == [66.7, 67.3, 67.4, 67.4, 67.3]
    assert paper["table10"] == [67.1, 67.2, 67.2, 67.4, 67.5, 67.5, 67.4]
    assert paper["trajectory"][:11] == [
        *(21.0, 30.2, 31.0, 40.0, 48.2, 53.6, 63.0, 65.1, 65.6, 67.4, 67.6)
    ]


def test_table_5_varies_the_grid_alone():
    """ "Fraction of randomly dropped grids": a focal mask is of the base's size in all rows."""
    base = MaskDistribution(ratio=BASE_RATIO).focal_side
    for experiment in SUITES["table5"]:
        settings = dict(experiment.settings)
        masks = MaskDistribution(**settings)
        assert masks.focal_side(224) == base(224) == 187
        overrides = SCALES["small"].overrides(experiment, CONFIG, 0)
        if settings["ratio"] != BASE_RATIO:
            assert f"{PARAMS}.focal_size={base(56)}" in overrides


def test_numbers_that_the_paper_does_not_print_say_how_they_follow():
    derived = {e.name: e.paper for suite in SUITES.values() for e in suite if e.derived}
    assert derived == {"baseline_standard": 66.6, "baseline_naive_mask": 62.4}
    for experiment in (e for suite in SUITES.values() for e in suite if e.derived):
        first, second = experiment.derived.partition(" (")[0].split(" - ")
        assert float(first) - float(second) == pytest.approx(experiment.paper)


def test_names_are_those_of_one_experiment():
    by_name = {}
    for experiments in SUITES.values():
        for experiment in experiments:
            assert by_name.setdefault(experiment.name, experiment).config == experiment.config


@pytest.mark.parametrize(
    ("mean", "branches"), [(0.0, 0.0), (0.1, [0.0, 0.2]), (0.7, [0.6, 0.8]), (1.0, 1.0)]
)
def test_branches_differ_around_the_mean_where_there_is_room(mean, branches):
    assert around(mean) == branches


def test_the_papers_scale_changes_what_the_table_varies_alone():
    paper = SCALES["paper"]
    assert paper.overrides(one("table5", "table5_0.5"), CONFIG, 3) == [
        f"{PARAMS}.ratio=0.5",
        f"{PARAMS}.focal_size=187",
        "config.SEED_VALUE=3",
    ]
    assert paper.overrides(one("table9", "table9_7"), CONFIG, 0) == [
        "config.DATA.TRAIN.TRANSFORMS.2.sigma=7",
        "config.DATA.TEST.TRANSFORMS.2.sigma=7",
        "config.SEED_VALUE=0",
    ]
    assert paper.overrides(one("trajectory", "05_noise"), CONFIG, 0) == ["config.SEED_VALUE=0"]


def test_the_small_scale_keeps_the_geometry():
    overrides = SCALES["small"].overrides(one("table9", "table9_9"), CONFIG, 0)
    assert overrides == [
        "+config/mscn/scale=small",
        "config.DATA.TRAIN.TRANSFORMS.1.size=56",
        "config.DATA.TRAIN.TRANSFORMS.2.sigma=2.25",
        "config.DATA.TEST.TRANSFORMS.0.size=64",
        "config.DATA.TEST.TRANSFORMS.1.size=56",
        "config.DATA.TEST.TRANSFORMS.2.sigma=2.25",
        f"{PARAMS}.cell_size=8",
        "config.SEED_VALUE=0",
    ]
    assert f"{PARAMS}.cell_size=14" in SCALES["small"].overrides(
        one("table6", "table6_56"), CONFIG, 0
    )
    # Height and width, and one of each branch.
    of_branches = Experiment("x", "x", "x", settings=(("cell_size", [[64, 16], 32]),))
    assert f"{PARAMS}.cell_size=[[16,4],8]" in SCALES["small"].overrides(of_branches, CONFIG, 0)


def test_a_value_that_the_config_has_is_the_configs_own_run():
    """So that two suites share it."""
    small = SCALES["small"]
    base = small.overrides(one("trajectory", "10_multimask"), CONFIG, 0)
    assert small.overrides(one("table6", "table6_32"), CONFIG, 0) == base
    assert small.overrides(one("table9", "table9_5"), CONFIG, 0) == base
    assert small.overrides(one("table5", "table5_0.3"), CONFIG, 0) == base
    assert small.overrides(one("table6", "table6_28"), CONFIG, 0) != base


def test_the_settings_around_ours_are_a_half_and_twice_at_a_small_scale_too():
    changed = {
        experiment.name: [
            override.removeprefix(f"{PARAMS}.")
            for override in SCALES["study"].overrides(experiment, CONFIG, 0)
            if "PARAMS" in override and "cell_size" not in override
        ]
        for experiment in SUITES["settings"]
    }
    assert changed == {
        "05_noise": [],
        "noise_half": ["noise_std=[0.075,0.15]"],
        "noise_double": ["noise_std=[0.3,0.6]"],
        "ratio_half": ["ratio=0.15", "focal_size=47"],
        "ratio_double": ["ratio=0.6", "focal_size=47"],
        "focal_small": ["focal_size=38"],
        "focal_large": ["focal_size=52"],
    }
    assert MaskDistribution(ratio=BASE_RATIO).focal_side(56) == 47
    shares = [(size / 224) ** 2 for size in (150, 210)]
    assert shares == pytest.approx([0.45, 0.88], abs=0.005)
