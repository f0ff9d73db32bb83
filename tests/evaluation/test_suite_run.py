"""What a suite of evaluations reuses, and what its results keep."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation import suite_run
from mscn_plugin.evaluation.definitions import SUITES
from mscn_plugin.evaluation.evaluation_run import EvaluationRun
from mscn_plugin.evaluation.pretraining_run import PretrainingRun


@pytest.fixture
def data(image_folder, tmp_path):
    return shutil.copytree(image_folder, tmp_path / "data")


@pytest.fixture
def suite(data, tmp_path, monkeypatch):
    """A suite of evaluations of one checkpoint, whose overrides are not composed."""
    monkeypatch.setattr(PretrainingRun, "overrides", lambda self, config: [])
    checkpoint = tmp_path / "checkpoint.torch"
    checkpoint.write_bytes(b"weights")

    def make(*only, **settings):
        name = settings.pop("suite", "quick")
        return suite_run.SuiteRun(
            run=PretrainingRun(tmp_path, checkpoint, None, 0.0, None),
            suite=name,
            evaluations=suite_run.choose(name, only),
            folders=settings.pop("folders", {"data": (str(data), "--data")}),
            output=tmp_path / "evaluation",
            **settings,
        )

    return make


LINEAR = next(e for e in SUITES["quick"] if e.config == "quick_linear")


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_evaluation_of_images_that_changed_is_another(suite, data, split):
    before = suite().launch(LINEAR, "digest").output
    assert suite().launch(LINEAR, "digest").output == before
    (data / split / "class0" / "0.png").unlink()
    assert suite().launch(LINEAR, "digest").output != before


@pytest.mark.parametrize("key", ["config.MSCN.TRAIN_SUBSET={}", "+config.X.Y=[2,{{z:'{}'}}]"])
def test_an_evaluation_by_a_list_that_was_edited_is_another(suite, tmp_path, key):
    listing = tmp_path / "1percent.txt"
    listing.write_text("a.png\n")
    overrides = [key.format(listing), "config.SEED_VALUE=1", "~config.X", "broken=("]
    before = suite(overrides=overrides).launch(LINEAR, "digest").output
    assert suite(overrides=overrides).launch(LINEAR, "digest").output == before
    listing.write_text("b.png\n")
    assert suite(overrides=overrides).launch(LINEAR, "digest").output != before


def test_a_subset_that_is_overridden_is_in_the_title_of_the_number(suite):
    evaluation = next(e for e in SUITES["quick"] if e.config == "quick_10percent")
    launch = suite(overrides=["config.MSCN.TRAIN_SUBSET=1.0"]).launch(evaluation, "digest")
    assert list(launch.evaluation.metrics) == ["fine-tuned with 100% of labels, top-1"]
    assert suite().launch(evaluation, "digest").evaluation is evaluation


@pytest.mark.parametrize("key", ["config.MSCN.DATA", "config.MODEL.WEIGHTS_INIT.PARAMS_FILE"])
def test_what_an_argument_gives_is_no_override(suite, key):
    """The results name the argument's."""
    with pytest.raises(ConfigError, match=f"--overrides {key}=/x: it is given by "):
        suite(overrides=[f"{key}=/x"]).begin()


def test_a_baseline_keeps_what_its_numbers_are_of(tmp_path):
    about = {"suite": "quick", "overrides": [], "measured_on": {"data": "8 images"}}
    content = {"sha256": "0", "evaluations": {"quick_linear": {}}, **about}
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert suite_run.load_baseline(tmp_path) == {"evaluations": {"quick_linear": {}}, **about}


def test_images_that_suites_share_are_hashed_once(suite, monkeypatch):
    hashed = []
    monkeypatch.setattr(suite_run, "splits_digest", lambda splits: hashed.append(splits) or "")
    digests = {}
    for _ in range(2):
        of_run = suite(digests=digests)
        assert all(of_run.launch(e, "digest") for e in of_run.evaluations)
    assert len(hashed) == 1


def test_a_folder_that_cannot_be_made_is_the_error_of_one_evaluation(suite):
    launch = suite().launch(LINEAR, "digest")
    launch.folder.mkdir()
    launch.output.write_text("")
    entry = suite_run._entry(launch, lambda done: None)
    assert f"File exists: '{launch.output}'" in entry["error"]


@pytest.fixture
def evaluate(suite, monkeypatch):
    """Measure some evaluations, each of which gives the next number; returns what is kept."""
    numbers = iter(range(100))
    monkeypatch.setattr(EvaluationRun, "metrics", lambda self: None)
    monkeypatch.setattr(
        EvaluationRun, "run", lambda self, progress: {"kNN, top-1": float(next(numbers))}
    )
    monkeypatch.setattr(PretrainingRun, "loss", None)

    def run(*only, **settings):
        of_run = suite(*only, **settings)
        of_run.evaluate(of_run.begin())
        entries = json.loads((of_run.output / "results.json").read_text())["evaluations"]
        return {name: entry["metrics"]["kNN, top-1"] for name, entry in entries.items()}

    return run


def test_results_of_an_earlier_call_stay(evaluate):
    first = evaluate("quick_linear", "quick_10percent")
    assert list(first.values()) == [0.0, 1.0]
    assert evaluate("quick_frozen") == {"quick_frozen": 2.0, **first}
    assert list(evaluate("quick_10percent").values()) == [2.0, 3.0, 1.0]


def test_what_another_call_measures_meanwhile_stays(evaluate, monkeypatch):
    measure = EvaluationRun.run

    def run(self, progress):
        monkeypatch.setattr(EvaluationRun, "run", measure)
        evaluate("quick_frozen")
        return measure(self, progress)

    monkeypatch.setattr(EvaluationRun, "run", run)
    assert evaluate("quick_linear") == {"quick_frozen": 0.0, "quick_linear": 1.0}


def test_results_of_other_images_settings_or_checkpoints_do_not(evaluate, data, tmp_path, capsys):
    evaluate("quick_linear")
    assert "starts over" not in capsys.readouterr().err
    assert list(evaluate("quick_frozen", overrides=["a=1"])) == ["quick_frozen"]
    assert "results.json is of other overrides, and starts over; " in capsys.readouterr().err
    (tmp_path / "checkpoint.torch").write_bytes(b"others")
    assert list(evaluate("quick_linear", overrides=["a=1"])) == ["quick_linear"]
    assert "results.json is of another checkpoint, and starts over; " in capsys.readouterr().err
    (data / "val" / "class0" / "0.png").unlink()
    assert list(evaluate("quick_frozen", overrides=["a=1"])) == ["quick_frozen"]
    said = "is of other images, boxes or settings, or of an earlier version, in quick_linear, "
    assert said in capsys.readouterr().err


def test_a_plot_of_what_is_not_in_the_table_is_removed(evaluate, tmp_path):
    evaluate("quick_linear")
    plot, table = (tmp_path / "evaluation" / name for name in ("occlusion.png", "results.json"))
    plot.touch()
    content = json.loads(table.read_text())
    content["evaluations"]["quick_linear"]["occlusion"] = {}  # of whichever it is
    table.write_text(json.dumps(content))
    evaluate("quick_frozen")
    assert plot.exists()
    evaluate("quick_frozen", overrides=["a=1"])
    assert not plot.exists()


def test_a_table_of_other_images_is_not_replaced_without_a_word(
    evaluate, data, tmp_path, capsys, monkeypatch
):
    evaluate("quick_linear", "quick_frozen")
    capsys.readouterr()
    other = shutil.copytree(data, tmp_path / "other")
    measure, beside = EvaluationRun.run, iter(["quick_10percent", "quick_few_labels"])

    def run(self, progress):  # while a call beside goes on with the first images
        with monkeypatch.context() as patch:
            patch.setattr(EvaluationRun, "run", measure)
            evaluate(next(beside))
        return measure(self, progress)

    (other / "val" / "class0" / "0.png").unlink()
    monkeypatch.setattr(EvaluationRun, "run", run)
    kept = evaluate("quick_linear", "quick_frozen", folders={"data": (str(other), "--data")})
    assert list(kept) == ["quick_frozen", "quick_linear"]
    said = [line for line in capsys.readouterr().err.splitlines() if "starts over" in line]
    assert len(said) == 3  # at its begin, once of the call beside, and by that
    assert "in quick_frozen, quick_linear, and starts over there; " in said[0]


def test_results_of_a_run_that_was_moved_stay(evaluate, suite, tmp_path, capsys, monkeypatch):
    key = "config.MODEL.WEIGHTS_INIT.PARAMS_FILE"
    monkeypatch.setattr(PretrainingRun, "overrides", lambda s, _: [f"{key}={s.checkpoint}"])
    first = evaluate("quick_linear")
    capsys.readouterr()
    moved, here = tmp_path / "moved", suite("quick_frozen")
    shutil.copytree(here.output, moved / "evaluation")
    checkpoint = Path(shutil.copy(here.run.checkpoint, moved))
    run = dataclasses.replace(here.run, folder=moved, checkpoint=checkpoint)
    there = dataclasses.replace(here, run=run, output=moved / "evaluation")
    results = there.begin()
    (entry,) = results["evaluations"].values()
    assert entry["metrics"] == {"kNN, top-1": first["quick_linear"]}
    assert Path(entry["folder"]) == there.launch(LINEAR, results["sha256"]).output
    assert not capsys.readouterr().err


def test_the_result_on_boxes_stays_where_they_are_not_given_again(evaluate, data, tmp_path, capsys):
    boxes = tmp_path / "my.csv"
    boxes.write_text("0.png,1,1,9,9\n")
    first = evaluate("quick_boxes", boxes=boxes)
    assert evaluate("quick_frozen") == {"quick_frozen": 1.0, **first}
    assert evaluate("quick_boxes") == {"quick_frozen": 1.0, **first}
    assert "starts over" not in capsys.readouterr().err
    (data / "val" / "class0" / "0.png").unlink()
    assert list(evaluate("quick_frozen")) == ["quick_frozen"]
    assert "in quick_frozen, quick_boxes, and starts over there; " in capsys.readouterr().err


def test_images_of_a_run_that_are_named_from_an_unknown_folder_are_not_guessed(tmp_path):
    """Runs of earlier versions have ``DATA: data`` as it was typed."""
    run = PretrainingRun(
        tmp_path, tmp_path / "checkpoint.torch", {"MSCN": {"DATA": "data"}}, 0.0, None
    )
    with pytest.raises(ConfigError, match="is taken, which is 'data', seen from a folder"):
        suite_run.data_folders("quick", [], run)
    assert suite_run.data_folders("quick", ["photographs"], run)


@pytest.mark.parametrize("suite", ["quick", "paper"])
@pytest.mark.parametrize("prefix", ["", "{}="])
def test_two_folders_of_one_data_set_are_refused(tmp_path, suite, prefix):
    """The last one alone was measured."""
    run = PretrainingRun(tmp_path, tmp_path / "checkpoint.torch", None, 0.0, None)
    dataset = SUITES[suite][0].dataset
    named = [f"{prefix.format(dataset)}{tmp_path / name}" for name in "ab"]
    with pytest.raises(ConfigError, match=f"two folders of {dataset}, '.*/a' and '.*/b'; it must"):
        suite_run.data_folders(suite, named, run)
    same = suite_run.data_folders(suite, [named[0], named[0]], run)
    assert same == {dataset: (str(tmp_path / "a"), "--data")}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"evaluations": 1}'])
def test_a_damaged_file_of_results_is_begun_anew(evaluate, tmp_path, content):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "results.json").write_text(content)
    assert list(evaluate("quick_linear")) == ["quick_linear"]


def test_results_on_data_that_is_not_given_again_stay(evaluate, data):
    both = {name: (str(data), "--data") for name in ("imagenet1k", "places205")}
    paper = {"suite": "paper", "folders": both}
    evaluate("places205_linear", **paper)
    paper["folders"] = {"imagenet1k": both["imagenet1k"]}
    assert list(evaluate("imagenet1k_linear", **paper)) == ["imagenet1k_linear", "places205_linear"]
    assert evaluate("places205_linear", **paper)["places205_linear"] == 0.0
