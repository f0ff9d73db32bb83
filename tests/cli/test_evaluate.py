"""One command for a checkpoint: results, failures, what is reused, SLURM."""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import shutil

import pytest
from conftest import run_command

from mscn_plugin.data.pack import Settings, pack
from mscn_plugin.evaluation.definitions import SUITES

pytestmark = pytest.mark.process

QUICK = (
    "config.DATA.NUM_DATALOADER_WORKERS=0",
    "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=4",
)
SHORT = (*QUICK, "config.OPTIMIZER.num_epochs=2")
"""Where something is trained, too."""
NO_FEATURES = ("config.EXTRACT_FEATURES.OUTPUT_DIR=/dev/null",)
"""Makes the one evaluation fail that writes features."""


evaluate = functools.partial(run_command, "evaluate")


@pytest.fixture
def run(checkpoints, tmp_path):
    return shutil.copytree(checkpoints["simclr"], tmp_path / "run")


def results(run):
    return json.loads((run / "evaluation" / "results.json").read_text())["evaluations"]


def test_the_quick_suite_ends_with_a_table_and_is_reused(run, tmp_path):
    first = evaluate(run, "--overrides", *SHORT, cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    for name in ("results.json", "results.md", "results.png"):
        assert (run / "evaluation" / name).is_file()
    done = results(run)
    assert list(done) == [evaluation.config for evaluation in SUITES["quick"]]
    assert "has no list of boxes" in done.pop("quick_boxes")["skipped"]
    assert all(0 <= v <= 100 for entry in done.values() for v in entry["metrics"].values())
    assert "| linear probe, top-1 " in first.stdout
    curves = done["quick_occlusion"]["occlusion"]
    assert len(curves["knn"]["box-zeros"]) == len(curves["shares"])
    assert (run / "evaluation" / "occlusion.png").is_file()
    # The data were the run's own; the second time nothing is run.
    second = evaluate(run, "--overrides", *SHORT, cwd=tmp_path)
    assert second.returncode == 0
    again = results(run)
    assert again.pop("quick_boxes").keys() == {"skipped"}
    for name, entry in again.items():
        assert entry["reused"]
        assert entry["seconds"] < 1
        assert entry["metrics"] == done[name]["metrics"]
    # Another command, or another checkpoint, is another evaluation.
    other = evaluate(
        run, "--only", "quick_frozen", "--baseline", run / "evaluation", "--output",
        run / "evaluation", "--overrides", *QUICK, "config.NEAREST_NEIGHBOR.TOPK=1", cwd=tmp_path,
    )  # fmt: skip
    assert other.returncode == 0
    assert not results(run)["quick_frozen"]["reused"]
    assert "| baseline |" in " ".join(other.stdout.split())
    assert "Areas (parts hidden) of 12 validation images." in first.stdout
    assert "The baseline's overrides are others: " in other.stdout


def test_a_result_is_the_last_epochs_or_there_is_none(run, tmp_path):
    """As a kill leaves it between the last checkpoint and the evaluation that follows it."""
    arguments = ("--only", "quick_linear", "--overrides", *QUICK, "config.OPTIMIZER.num_epochs=3")
    evaluate(run, *arguments, cwd=tmp_path, check=True)
    for final in ("whole", "empty"):
        folder = pathlib.Path(results(run)["quick_linear"]["folder"])
        lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
        assert lines[-1]["train_phase_idx"] == 2
        earlier = [line for line in lines if line["train_phase_idx"] < 2]
        (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in earlier))
        (folder / "finished").unlink()
        if final == "whole":  # as earlier versions have left it
            (folder / "recipe.json").unlink()
        (checkpoint,) = folder.glob("model_final*.torch")
        if final == "empty":
            checkpoint.write_bytes(b"")
        evaluate(run, *arguments, cwd=tmp_path, check=True)
        entry = results(run)["quick_linear"]
        assert not entry["reused"]
        last = json.loads((folder / "metrics.json").read_text().splitlines()[-1])
        assert last["train_phase_idx"] == 2
        (value,) = last["test_accuracy_list_meter"]["top_1"].values()
        assert entry["metrics"]["linear probe, top-1"] == value


def test_a_failure_does_not_stop_the_others(run, tmp_path):
    result = evaluate(
        run, "--only", "quick_frozen", "quick_10percent", "--overrides", *SHORT, *NO_FEATURES,
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 1
    done = results(run)
    assert "metrics" in done["quick_10percent"], done["quick_10percent"]["error"]
    assert "NotADirectoryError" in done["quick_frozen"]["error"]
    assert "console.txt" in done["quick_frozen"]["error"]
    assert "- quick_frozen: " in (run / "evaluation" / "results.md").read_text()


@pytest.mark.slurm
def test_jobs_go_through_submitit_and_are_waited_for(run, tmp_path):
    result = evaluate(
        run, "--only", "quick_frozen", "--slurm", "any", "--overrides", *QUICK, cwd=tmp_path
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert results(run)["quick_frozen"]["metrics"]
    folder = pathlib.Path(results(run)["quick_frozen"]["folder"])
    assert list(folder.glob("*_result.pkl"))
    failing = evaluate(
        run, "--only", "quick_frozen", "--slurm", "any", "--overrides", *QUICK,
        *NO_FEATURES, cwd=tmp_path,
    )  # fmt: skip
    assert failing.returncode == 1
    assert "failed: NotADirectoryError" in results(run)["quick_frozen"]["error"]


def test_what_is_refused_by_the_configuration_is_its_sentence(run, image_folder, tmp_path):
    top = "config.METERS.accuracy_list_meter.topk_values=[9]"
    result = evaluate(run, "--only", "quick_linear", "--overrides", top, cwd=tmp_path)
    assert result.returncode == 1
    assert "topk_values is [9]; it must be" in results(run)["quick_linear"]["error"]
    assert "Traceback" not in result.stderr


def test_a_folder_of_classes_is_evaluated_on_the_held_out_fifth(run, image_folder, tmp_path):
    result = evaluate(
        run, "--only", "quick_frozen", "--data", image_folder / "train", "--overrides", *QUICK,
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    said = f"Measured on: 7 of the 32 images of 4 classes in {image_folder}/train, held out from"
    assert said in result.stdout
    assert "chance 25.0" in result.stdout
    assert said in (run / "evaluation" / "results.md").read_text()
    assert results(run)["quick_frozen"]["metrics"]


def test_packed_images_are_evaluated_as_the_folder_is(run, image_folder, tmp_path):
    """Held out, too, which goes through lists of their names."""
    pack(str(image_folder / "train"), tmp_path / "packed", Settings(images_per_shard=10))
    result = evaluate(
        run, "--only", "quick_frozen", "--data", tmp_path / "packed", "--overrides", *QUICK,
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    said = f"Measured on: 7 of the 32 images of 4 classes in {tmp_path}/packed, held out from"
    assert said in result.stdout
    assert results(run)["quick_frozen"]["metrics"]


def test_wrong_arguments_are_one_message(run, tmp_path, image_folder):
    images = image_folder
    odd = shutil.copytree(images, tmp_path / "odd")
    shutil.rmtree(odd / "val" / "class1")
    (run / "train_config.yaml").unlink()
    (tmp_path / "wrong.json").write_text("[]")
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([tmp_path / "none"], "none is not a file"),
        ([run, "--sigma", "3"], "was pre-trained with 1.25; leave --sigma out"),
        ([run], "no data: give --data <folder with train/ and val/>"),
        ([run, "--suite", "paper"], "no data: give --data with some of imagenet1k=<folder> places"),
        (
            [run, "--data", tmp_path / "empty"],
            "empty holds no images (.jpg, .jpeg, ",
        ),
        ([run, "--data", images / "val" / "class0"], "an evaluation needs labels"),
        ([run, "--data", "/nowhere"], "--data is '/nowhere', which is not a folder"),
        ([run, "--data", odd], f"the same classes; {odd}/val has no 'class1'"),
        ([run, "--data", f"places={tmp_path}"], "a data set of the suite quick, which has data"),
        ([run, "--data", images, "--baseline", tmp_path / "wrong.json"], "not the results.json"),
        ([run, "--data", images, "--only", "imagenet1k_linear"], "the suite quick has quick_froz"),
        ([run, "--data", images, "--output", tmp_path / "wrong.json"], "File exists"),
    ):
        result = evaluate(*arguments, cwd=tmp_path)
        assert result.returncode == 1
        assert message in result.stderr
        assert result.stderr.startswith("mscn evaluate: ")
        assert result.stderr.count("\n") == 1
    assert not (run / "evaluation").exists()


def test_a_folder_of_data_may_have_the_sign_that_names_a_data_set(run, tmp_path, image_folder):
    from mscn_plugin.evaluation.suite_run import data_folders

    (tmp_path / "lr=0.1").symlink_to(image_folder)
    folder = str(tmp_path / "lr=0.1")
    for suite, item, name in (
        ("quick", folder, "data"),
        ("paper", folder, "imagenet1k"),
        ("paper", f"places205={folder}", "places205"),
    ):
        found = data_folders(suite, [item], argparse.Namespace(data=None))
        assert found == {name: (str(image_folder), "--data")}


def test_data_sets_that_are_not_given_are_left_out(run, tmp_path, image_folder):
    (run / "train_config.yaml").unlink()
    result = evaluate(
        run, "--suite", "paper", "--data", f"places205={image_folder}", "--only",
        "inaturalist18_linear", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert results(run) == {"inaturalist18_linear": {"skipped": "its data was not given"}}
    assumed = "assumed are pictures in RGB, resized to 256 and cropped to 224 pixels, normalized"
    for text in (result.stderr, (run / "evaluation" / "results.md").read_text()):
        assert assumed in text
