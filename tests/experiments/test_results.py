from __future__ import annotations

import csv
import json

from mscn_plugin.evaluation.definitions import CONDITIONS
from mscn_plugin.experiments.results import merged, save, summary


def rows():
    return [
        {
            "suite": "suite",
            "experiment": name,
            "title": name,
            "seed": seed,
            "paper": paper,
            "data": None,
            "given": [],
            **({"metrics": {"kNN": 10.0 + seed, "linear probe": 20.0}} if seed < 2 else {}),
            **({"measured_on": "measured on 12 images of /x/val"} if seed < 2 else {}),
            **({"error": "no"} if seed == 2 else {}),
        }
        for name, paper in (("a", 60.0), ("b", None))
        for seed in range(3)
    ]


def test_failures_are_not_averaged():
    assert summary(rows())[0] == ["a", 2, "10.5 ± 6.4", "20.0 ± 0.0", None, None, 60.0]


def test_a_number_that_some_seeds_lack_says_of_how_many_it_is():
    """As of an earlier version's runs, which were not evaluated before their first step."""
    two = rows()[:2]
    two[1]["metrics"]["kNN, untrained"] = 8.0
    assert summary(two)[0] == ["a", 2, "10.5 ± 6.4", "20.0 ± 0.0", "8.0 (1 seed)", None, 60.0]


def test_everything_is_written(tmp_path):
    save(tmp_path, rows())
    assert json.loads((tmp_path / "results.json").read_text()) == rows()
    lines = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert len(lines) == 8  # two experiments, two seeds that did not fail, two metrics
    assert lines[0] == {
        "suite": "suite",
        "experiment": "a",
        "seed": "0",
        "metric": "kNN",
        "accuracy": "10.0",
        "paper": "",
    }
    assert "| a       |       2 | 10.5 ± 6.4" in (tmp_path / "results.md").read_text()
    assert (tmp_path / "results.md").read_text().count("Measured on 12 images of /x/val.") == 1
    assert (tmp_path / "suite.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "suite.pdf").read_bytes()[:4] == b"%PDF"


def test_tables_of_hidden_parts_say_of_how_many_images_they_are(tmp_path):
    of_runs = rows()[:2]
    for row in of_runs:
        row["evaluations"] = {"hidden": {"occlusion": {"shares": [0.0, 0.5], "images": 2000}}}
        row["evaluations"]["hidden"]["occlusion"]["knn"] = {key: [9.0, 1.0] for key in CONDITIONS}
    save(tmp_path, of_runs)
    said = "Areas (parts hidden) of 2000 validation images."
    assert (tmp_path / "results.md").read_text().count(said) == 1


def of_table7(experiment, seed, **more):
    return {
        "suite": "table7",
        "experiment": experiment,
        "seed": seed,
        "data": None,
        "given": [],
        **more,
    }


def test_rows_of_other_calls_stay():
    old = [of_table7("same_view", 0, metrics=1), of_table7("09_asymmetry", 0, metrics=2)]
    new = [of_table7("same_view", 1), of_table7("same_view", 0, metrics=3)]
    assert merged(old, new) == [new[1], new[0], old[1]]


def test_evaluations_of_an_earlier_call_stay_with_the_same_run():
    before = {"few": {"metrics": 1}, "boxes": {"error": "no"}}
    old = [of_table7("same_view", 0, folder="a", metrics={"kNN": 2}, evaluations=before)]

    def again(**more):
        row = of_table7("same_view", 0, folder="a", metrics={"kNN": 2}) | more
        return merged(old, [row])[0].get("evaluations")

    few = {"few": before["few"]}
    assert again() == few  # what failed is not asked for again
    assert again(evaluations={"boxes": {"metrics": 3}}) == {**few, "boxes": {"metrics": 3}}
    assert again(evaluations={"few": {"metrics": 3}}) == {"few": {"metrics": 3}}
    failed = {"error": "which is in use by another run"}
    assert again(evaluations={"few": failed, "boxes": failed}) == {**few, "boxes": failed}
    assert again(metrics={"kNN": 1}) is None  # trained again, by another version
    assert again(folder="b") is None


def test_a_result_stays_where_another_call_is_at_work_on_the_same_run():
    run = {"folder": "a", "metrics": {"kNN": 2}}
    old = [of_table7("same_view", 0, **run, evaluations={"few": {"metrics": 1}})]
    failed = of_table7("same_view", 0, folder="a", error="which is in use by another run")
    assert merged(old, [failed]) == old
    assert merged([failed], old) == old
    assert merged([failed], [failed]) == [failed]
    other = {**failed, "folder": "b"}  # such as that of another version
    assert merged(old, [other]) == [other]


def test_plots_of_rows_that_are_gone_are_removed(tmp_path):
    names = ("suite_occlusion.png", "table7_occlusion.png", "mine.png")
    for name in names:
        (tmp_path / name).touch()
    save(tmp_path, rows())
    assert [(tmp_path / name).exists() for name in names] == [False, False, True]
    assert (tmp_path / "suite.png").exists()


def test_rows_of_other_settings_do_not_stay():
    old = [of_table7("same_view", 0, given=["a=1"]), of_table7("same_view", 1)]
    new = [of_table7("same_view", 2)]
    assert merged(old, new) == [*old[1:], *new]
    new[0]["overrides"] = ["config.SEED_VALUE=2", "config.OPTIMIZER.num_epochs=9"]
    assert merged(old, new) == new  # an older version trained for another time
    old[1]["overrides"] = ["config.SEED_VALUE=1", "config.OPTIMIZER.num_epochs=9"]
    assert merged(old, new) == [*old[1:], *new]
    new[0]["data"] = "clothing96"
    assert merged(old, new) == new


def test_rows_of_another_folder_of_the_same_name_do_not_stay():
    """``/a/train`` and ``/b/train`` are both called ``train``."""
    old = [of_table7("same_view", seed, data="train", images="a") for seed in range(2)]
    other = [of_table7("same_view", 2, data="train", images="b")]
    assert merged(old, other) == other
    assert merged(old, [{**other[0], "images": "a"}]) == [*old, {**other[0], "images": "a"}]
    for row in old:
        del row["images"]
    assert merged(old, other) == other
    own = [of_table7("same_view", 0), of_table7("same_view", 1, images=None)]
    assert merged(own[:1], own[1:]) == own  # the scale's own data


def test_a_suite_without_a_result_has_no_plot(tmp_path):
    save(tmp_path, [row for row in rows() if "error" in row])
    assert not (tmp_path / "suite.png").exists()
    assert "| a       |       0 | -" in (tmp_path / "results.md").read_text()
