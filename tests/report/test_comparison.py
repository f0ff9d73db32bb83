"""Several runs on one page."""

from __future__ import annotations

import shutil

import pytest
import torch
import yaml
from run_folders import write_lines, write_run

from mscn_plugin import ConfigError
from mscn_plugin.report.history import History

pytestmark = pytest.mark.usefixtures("registered")


def evaluation(epoch, knn):
    return {
        "train_phase_idx": epoch,
        "online_evaluation": {"knn": knn, "linear_probe": knn + 1},
        "images": {
            "train": {"number": 32, "path": "/x/train"},
            "val": {"number": 12, "path": "/x/val"},
            "held_out": False,
        },
        "chance": 25.0,
        "color_histogram": {"knn": 30.0, "linear_probe": 31.0},
    }


@pytest.fixture
def runs(compose, tiny, tmp_path):
    """Two runs, "a" and "b", of which one has another temperature, filter and evaluation."""
    other = ("config.LOSS.mscn_info_nce_loss.temperature=0.3", "config.LOG_FREQUENCY=3")
    other += tuple(
        f"config.DATA.{split}.sigma=2" for split in ("TRAIN.TRANSFORMS.7", "TEST.TRANSFORMS.4")
    )
    online = "config.MSCN.ONLINE_EVALUATION"
    other += (f"{online}.NUM_NEIGHBORS=4", f"{online}.EVERY_NUM_EPOCHS=3")
    first = write_run(tmp_path / "runs" / "a", compose("config=mscn/quickstart", *tiny))
    second = write_run(tmp_path / "runs" / "b", compose("config=mscn/quickstart", *tiny, *other))
    write_lines(second / "metrics.json", evaluation(-1, 20.0), evaluation(1, 50.0))
    return [first, second]


def test_accuracies_curves_and_settings_side_by_side(runs, tmp_path):
    from mscn_plugin.report.comparison import write_comparison

    file = write_comparison(runs)
    assert file == tmp_path / "runs" / "comparison.html"
    page = file.read_text()
    for text in (
        "2 pre-training runs",
        "12 validation images of x/val, classifiers of 32",
        "model_phase1.torch",
        "not known",
        "41.3",
        "50.0",
        "before training: kNN",
        "<code>LOSS.mscn_info_nce_loss.temperature</code>",
        "<code>DATA.TRAIN.TRANSFORMS.7.sigma</code>",
    ):
        assert text in page, text
    weights, measurement = page.split("Settings of the measurement that differ")
    for key in ("MSCN.ONLINE_EVALUATION.NUM_NEIGHBORS", "DATA.TEST.TRANSFORMS.4.sigma"):
        assert f"<code>{key}</code>" in measurement
        assert key not in weights
    assert page.count("<img") == 5  # loss, rate, kNN, linear probe, spread
    for key in ("LOG_FREQUENCY", "EVERY_NUM_EPOCHS"):  # they change nothing that is learned
        assert key not in page
    assert "CHECKPOINT.DIR" not in page
    assert write_comparison(runs, tmp_path / "new" / "x.html").read_text() == page


def test_accuracies_are_those_of_the_checkpoint_that_is_named(runs):
    from mscn_plugin.report.comparison import _accuracies
    from mscn_plugin.report.page import read_run

    for run in runs:
        checkpoint = torch.load(run / "model_phase1.torch", weights_only=True)
        torch.save({**checkpoint, "train_phase_idx": 0}, run / "model_phase0.torch")

    def row(run, name):
        return _accuracies(read_run(run / name), History.of(run))

    before, none = ["20.0", "25.0"], 3 * ["-"]
    assert row(runs[0], "model_phase0.torch") == {
        "checkpoint": "model_phase0.torch",
        "epochs": "1 of 1",
        "values": ["30.0", "33.0", *before, *none],
        "measured": "not known",
    }
    assert row(runs[0], "model_phase1.torch")["values"] == ["41.3", "45.0", *before, *none]
    last = row(runs[1], "checkpoint.torch")
    assert (last["checkpoint"], last["epochs"]) == ("model_phase1.torch", "2 of 1")
    assert last["values"][:4] == ["50.0", "51.0", "20.0", "21.0"]
    # It was not evaluated, and the later checkpoint's accuracy is not its own.
    first = row(runs[1], "model_phase0.torch")
    assert (first["epochs"], first["values"][:4]) == ("1 of 1", ["-", "-", "20.0", "21.0"])
    lines = [evaluation(-1, 20.0), evaluation(0, 40.0)]
    write_lines(runs[1] / "metrics.json", *lines)
    assert row(runs[1], "model_phase1.torch")["epochs"] == "2 of 1, accuracies after 1"


def test_each_run_keeps_its_color_in_every_plot():
    from mscn_plugin.report.comparison import joint_curves

    steps = [{"iter": 0, "loss": 5.0, "lr": 0.1}]
    both = {
        "a": History(steps, [], []),
        "b": History(steps, [], [{"iteration": 0, "std": 0.1, "prediction_std": 0.2}]),
    }
    loss, rate, embedding, prediction = joint_curves(both)
    assert list(loss.series) == list(rate.series) == ["a", "b"]
    assert [embedding.title, prediction.title] == [
        "spread of the embedding, 0: collapsed: embedding",
        "spread of the embedding, 0: collapsed: prediction",
    ]
    assert list(embedding.series) == list(prediction.series) == ["b"]
    assert {tuple(curve.colors.items()) for curve in (loss, embedding)} == {
        (("a", "C0"), ("b", "C1"))
    }
    assert all(b"<svg" in curve.svg() for curve in (loss, embedding))


def test_runs_of_one_configuration_do_not_differ(runs, tmp_path):
    from mscn_plugin.report.comparison import write_comparison

    again = tmp_path / "elsewhere" / "a"
    shutil.copytree(runs[0], again, symlinks=True)
    page = write_comparison([runs[0], again]).read_text()
    assert "None of those that change the weights." in page
    assert "Settings of the measurement" not in page
    assert "runs/a, elsewhere/a" in page


def test_a_run_of_an_earlier_version_has_the_defaults_of_newer_keys(runs):
    from mscn_plugin.report.comparison import differences
    from mscn_plugin.report.page import read_run

    names = {"a": runs[0], "b": runs[1]}
    before = differences({name: read_run(run) for name, run in names.items()})
    file = runs[1] / "train_config.yaml"
    config = yaml.safe_load(file.read_text())
    for key in ("TRAIN_SUBSET", "DEVICE_VIEWS", "ONLINE_EVALUATION"):
        config["MSCN"].pop(key)
    config["MSCN"]["KEY_OF_A_LATER_VERSION"] = 1
    file.write_text(yaml.safe_dump(config))
    found = differences({name: read_run(run) for name, run in names.items()})
    assert found.pop("MSCN.KEY_OF_A_LATER_VERSION") == ["-", "1"]
    assert found == before


def test_what_cannot_be_compared_is_one_message(runs, tmp_path):
    from mscn_plugin.report.comparison import write_comparison

    with pytest.raises(ConfigError, match="is named twice"):
        write_comparison([runs[0], runs[0] / "model_phase1.torch"])
    with pytest.raises(ConfigError, match="is a folder; it must be a file"):
        write_comparison(runs, tmp_path)
    (runs[1] / "train_config.yaml").write_text("{MSCN: {}, LOSS: {name: x}, MODEL: {}}")
    with pytest.raises(ConfigError, match="is not a configuration of VISSL"):
        write_comparison(runs)
    (runs[1] / "train_config.yaml").unlink()
    with pytest.raises(ConfigError, match="has no train_config.yaml beside it"):
        write_comparison(runs)


def test_a_browser_shows_it(runs, browser):
    from mscn_plugin.report.comparison import write_comparison

    page = write_comparison(runs)
    for width in (390, 1280):
        seen = browser.look_at(page, width)
        assert (seen.complaints, len(seen.pictures)) == ([], 5)
        assert seen.width <= width
        assert all(text and pixels > 0 for text, pixels in seen.pictures)
