"""Nothing that a downloaded folder holds runs: a payload for each reader that SECURITY.md lists."""

from __future__ import annotations

import json
import os
import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import submitit
import torch
from PIL import Image
from torch import nn

from mscn_plugin.checkpoints.complete import (
    load_complete,
    newest_checkpoint,
    refuse_damaged,
    refuse_links,
)
from mscn_plugin.checkpoints.io import (
    CheckpointError,
    check_plain_pickle,
    last_epoch,
    load_checkpoint,
    read_yaml,
    training_config,
)
from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.definitions import SUITES
from mscn_plugin.evaluation.evaluation_run import EvaluationRun
from mscn_plugin.evaluation.pretraining_run import PretrainingRun
from mscn_plugin.export.pretrained import load_pretrained
from mscn_plugin.export.results import read_results
from mscn_plugin.report.history import History
from mscn_plugin.report.kernels import first_kernels
from mscn_plugin.report.page import write_report
from mscn_plugin.report.pictures import picture_file
from mscn_plugin.runs.launch import RunFailedError
from mscn_plugin.training.hooks.non_finite import replay

CHECKPOINT = "checkpoint.torch"


class Payload:
    """What touches a file where it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.fixture
def ran(tmp_path):
    """A file that is there if a payload ran; the test fails then."""
    file = tmp_path / "ran"
    yield file
    assert not file.exists()


def in_yaml(ran):
    return f"a: !!python/object/apply:os.mknod ['{ran}']\n"


def trunk():
    conv = torch.ones(4, 3, 3, 3)
    return {"base_model": {"model": {"trunk": {"_feature_blocks.conv1.weight": conv}}}}


@pytest.fixture
def run(tmp_path, ran):
    """A run's folder with a harmless checkpoint and a configuration that is a payload."""
    folder = tmp_path / "run"
    folder.mkdir()
    torch.save({"iteration": 1, "classy_state_dict": trunk()}, folder / "checkpoint.torch")
    (folder / "train_config.yaml").write_text(in_yaml(ran))
    return folder


PICKLED = {
    "an archive of PyTorch": lambda payload, file: torch.save({"iteration": payload}, file),
    "a bare pickle": lambda payload, file: file.write_bytes(pickle.dumps({"model": payload})),
    "PyTorch's old format": lambda payload, file: torch.save(
        {"a": payload}, file, _use_new_zipfile_serialization=False
    ),
}
CHECKPOINTS = {
    "evaluate.py": PretrainingRun.of,
    "export.py, write_report.py": load_pretrained,
    "draw_kernels.py": first_kernels,
    "extract_target.py and all others": load_checkpoint,
    "replay_step.py": replay,
    "draw_detections.py": lambda file: reading().load_weights(nn.Linear(1, 1), file),
}


def reading():
    from mscn_plugin.detection import reading

    return reading


@pytest.mark.parametrize("reader", CHECKPOINTS)
@pytest.mark.parametrize("kind", PICKLED)
@pytest.mark.parametrize("suffix", [".torch", ".pkl"])
def test_weights(tmp_path, ran, registered, reader, kind, suffix):
    file = tmp_path / f"weights{suffix}"
    PICKLED[kind](Payload(ran), file)
    with pytest.raises(CheckpointError, match="without running code|damaged") as error:
        CHECKPOINTS[reader](file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_whose_checkpoints_are_payloads(tmp_path, ran):
    torch.save({"iteration": Payload(ran)}, tmp_path / "model_phase7.torch")
    assert newest_checkpoint(tmp_path) is None
    settings = SimpleNamespace(AUTO_RESUME=True, OVERWRITE_EXISTING=False)
    with pytest.raises(ConfigError, match="none of the checkpoints is complete .*nothing was"):
        refuse_damaged(settings, tmp_path)


def test_weights_that_a_configuration_names(tmp_path, ran, compose, image_folder):
    file = tmp_path / "weights.torch"
    torch.save({"classy_state_dict": Payload(ran)}, file)
    with pytest.raises(ConfigError, match="PARAMS_FILE: .* without running code"):
        compose(
            *("config=mscn/benchmark/quick_linear", f"config.MSCN.DATA={image_folder}"),
            f"config.MODEL.WEIGHTS_INIT.PARAMS_FILE={file}",
        )


@pytest.mark.parametrize("kind", ["a program", "a tar archive", "a compressed archive"])
def test_other_archives_are_no_checkpoints(tmp_path, kind):
    file = tmp_path / "weights.torch"
    if kind == "a program":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(nn.Linear(1, 1)).save(str(file))
    elif kind == "a tar archive":
        with tarfile.open(file, "w") as archive:
            archive.add(__file__, "storages")
    else:
        torch.save({"iteration": 1, "w": torch.ones(1000)}, tmp_path / "stored")
        with (
            zipfile.ZipFile(tmp_path / "stored") as stored,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for name in stored.namelist():
                archive.writestr(name, stored.read(name))
    with pytest.raises(CheckpointError, match="TorchScript|tar archive|compressed"):
        load_checkpoint(file)
    with pytest.raises(CheckpointError, match="TorchScript|tar archive|compressed"):
        load_complete(file)  # never mapped as if it were weights


CONFIGURATIONS = {
    "evaluate.py, detect.py": PretrainingRun.of,
    "export.py": lambda folder: load_pretrained(folder / "checkpoint.torch"),
    "draw_kernels.py": first_kernels,
    "write_report.py": write_report,
    "every evaluation": lambda folder: training_config(folder / "checkpoint.torch"),
}


@pytest.mark.parametrize("reader", CONFIGURATIONS)
def test_a_runs_configuration(run, registered, reader):
    with pytest.raises(
        CheckpointError, match=r"train_config.yaml is not a configuration .*python"
    ) as e:
        CONFIGURATIONS[reader](run)
    assert "\n" not in str(e.value)


def test_a_runs_configuration_is_not_read_by_its_summary(run, ran, mscn):
    mscn("summary", run)
    assert not ran.exists()


@pytest.mark.parametrize("key", ["DATA", "LOSS", "MODEL", "MSCN", "OPTIMIZER", "TRAINER"])
def test_a_configuration_with_anything_in_the_place_of_a_section(run, registered, key):
    sections = {
        "DATA": {"TRAIN": {"TRANSFORMS": [{"name": "MSCNHighPass"}]}},
        "LOSS": {"name": "byol_loss"},
        "MODEL": {"TRUNK": {"NAME": "resnet", "RESNETS": {}}},
        "MSCN": {"DATA": "images", "ONLINE_EVALUATION": {}},
        "OPTIMIZER": {"num_epochs": 2},
        "TRAINER": {"TASK_NAME": "mscn_task"},
    }
    for value in (None, 1, [1], "text", {}):
        (run / "train_config.yaml").write_text(json.dumps({**sections, key: value}))
        for reader in (
            PretrainingRun.of,
            write_report,
            lambda folder: load_pretrained(folder / CHECKPOINT),
        ):
            try:
                reader(run)
            except ConfigError as error:
                assert str(run) in str(error)  # noqa: PT017  some readers need no such section


@pytest.mark.parametrize(
    "text",
    [None, 1, torch.ones(1), "", "[1]", "{", "[" * 100_000, json.dumps([0] * 200_000), "{}",
     '{"a": 1}', '{"DATA": 1, "LOSS": 1, "MODEL": 1, "MSCN": 1, "TRAINER": 1}'],
    ids=lambda text: str(text)[:20],
)  # fmt: skip
def test_a_configuration_within_a_checkpoint(tmp_path, registered, text):
    """As ``mscn target`` writes it."""
    file = tmp_path / CHECKPOINT
    torch.save({"classy_state_dict": {**trunk(), "mscn_config": text}}, file)
    for reader in (PretrainingRun.of, load_pretrained, first_kernels, write_report):
        try:
            reader(file)
        except ConfigError as error:  # kernels need no such section
            said = str(error)
            assert said.startswith(str(file))
            assert "\n" not in said


def test_weights_of_others_are_checked_for_damage(tmp_path, compose, image_folder):
    """VISSL loads them; PyTorch itself does not look at the checksums."""
    file = tmp_path / "weights.pth"
    torch.save({"w": torch.ones(1000)}, file)
    content = bytearray(file.read_bytes())
    content[content.index(torch.ones(1000).numpy().tobytes()) + 9] ^= 1
    file.write_bytes(content)
    assert torch.load(file, weights_only=True)["w"][2] != 1
    weights = "config.MODEL.WEIGHTS_INIT"
    with pytest.raises(ConfigError, match="PARAMS_FILE: .*weights.pth is damaged .the checksum"):
        compose(
            *("config=mscn/benchmark/quick_linear", f"config.MSCN.DATA={image_folder}"),
            *(f"{weights}.PARAMS_FILE={file}", f"{weights}.STATE_DICT_KEY_NAME=w"),
        )


def test_the_configuration_beside_results(run):
    assert last_epoch(run) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must have sections"),
        ("- 1", "must have sections"),
        ("a: [", "expected"),
        ("a: !!python/name:os.system ''", "python/name"),
        ("a: !!python/object/new:os.system [x]", "python/object/new"),
        ("a: &a [*a, 1]", "values"),
        ("a: &0 [0,0,0,0,0,0,0,0]\n" + "".join(
            f"a{n}: &{n + 1} [*{n},*{n},*{n},*{n},*{n},*{n},*{n},*{n}]\n" for n in range(8)
        ), "values"),
        ("[" * 5000, "recursion|nesting|expected"),
        (b"\xff\xfe\xfa", "decode"),
        ("{[1]: 2}", "unhashable|hashable"),
    ],
)  # fmt: skip
def test_configurations_that_are_none(tmp_path, text, reason):
    file = tmp_path / "config.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CheckpointError, match=reason) as error:
        read_yaml(file)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


class TestDetectors:
    """detectron2 would run tags of YAML, take in other files and unpickle."""

    def test_a_configuration(self, tmp_path, ran, detectron2):
        file = tmp_path / "config.yaml"
        file.write_text(in_yaml(ran))
        with pytest.raises(CheckpointError, match=r"config.yaml is not a configuration .*python"):
            reading().read_config(file)

    def test_a_configuration_that_takes_in_another(self, tmp_path, ran, detectron2):
        (tmp_path / "base.yaml").write_text(in_yaml(ran))
        file = tmp_path / "config.yaml"
        file.write_text("_BASE_: base.yaml")
        with pytest.raises(CheckpointError, match=r"takes in the file 'base.yaml'"):
            reading().read_config(file)

    def test_weights_that_a_configuration_names_are_not_taken(self, tmp_path, detectron2):
        file = tmp_path / "config.yaml"
        file.write_text("VERSION: 2\nMODEL: {WEIGHTS: evil.pkl}")
        assert reading().read_config(file).MODEL.WEIGHTS == ""

    def test_a_script_says_it_in_one_line(self, tmp_path, ran, detectron2, mscn):
        (tmp_path / "config.yaml").write_text(in_yaml(ran))
        for name in ("model_final.pth", "a.jpg"):
            (tmp_path / name).touch()
        with pytest.raises(SystemExit, match="draw detections: .*yaml is not a configuration"):
            mscn("draw detections", tmp_path, tmp_path / "a.jpg")

    @pytest.mark.parametrize(
        "name", ["evil.pkl", "../evil.pth", "evil.pkl?.pth", "http://evil/a.pth", "evil.pth"]
    )
    def test_the_last_checkpoint(self, tmp_path, ran, name):
        """It is written anew, for a complete checkpoint that holds nothing but tensors."""
        from mscn_plugin.detection.resume import rewind

        for file in ("evil.pkl", "evil.pth", "model_0000001.pth"):
            (tmp_path / file).write_bytes(pickle.dumps({"model": Payload(ran)}))
        (tmp_path / "last_checkpoint").write_text(name)
        assert "skipping a damaged checkpoint" in rewind(tmp_path)[0]
        assert not (tmp_path / "last_checkpoint").exists()

    @pytest.mark.parametrize("text", ["[1]", "{}", "[", "[" * 9999])
    def test_class_names(self, tmp_path, text):
        (tmp_path / "classes.json").write_text(text)
        with pytest.raises(CheckpointError, match="is not a list of names"):
            reading().read_class_names(tmp_path / "classes.json")


@pytest.mark.parametrize("key", ["DATA", "LABEL"])
@pytest.mark.parametrize("kind", ["objects", "a pickle", "an archive", "damaged"])
def test_lists_of_images_and_labels(tmp_path, ran, compose, key, kind):
    file = tmp_path / ("list.pkl" if kind == "a pickle" else "list.npy")
    objects = np.array([Payload(ran)], dtype=object)
    if kind == "objects":
        np.save(file, objects, allow_pickle=True)
    elif kind == "an archive":
        with file.open("wb") as stream:
            np.savez(stream, objects)
    else:
        file.write_bytes(pickle.dumps(Payload(ran)))
    plain = tmp_path / "plain.npy"
    np.save(plain, np.array(["a.jpg", "b.jpg"]))
    lists = {"DATA": plain, "LABEL": plain, key: file}
    with pytest.raises(ConfigError, match=rf"config.DATA.TRAIN.{key}_PATHS names '{file}'"):
        compose(
            "config=mscn/quickstart",
            "config.MSCN.DATA=''",
            "config.DATA.TEST.DATA_SOURCES=[]",
            *(f"config.DATA.TRAIN.{kind}_SOURCES=[disk_filelist]" for kind in lists),
            *(f"config.DATA.TRAIN.{kind}_PATHS=['{path}']" for kind, path in lists.items()),
        )


def test_the_outcome_of_a_slurm_job(tmp_path, ran, monkeypatch):
    """submitit keeps outcomes as pickles in the evaluation's folder."""
    launch = EvaluationRun(
        SUITES["quick"][0], (), tmp_path, "digest", ("config.SLURM.USE_SLURM=true",)
    )
    launch.output.mkdir()
    outcome = launch.output / "7_0_result.pkl"
    job = SimpleNamespace(done=lambda: True, exception=lambda: pickle.loads(outcome.read_bytes()))
    executor = SimpleNamespace(job_class=lambda **_: job)
    monkeypatch.setattr(
        submitit, "AutoExecutor", lambda folder: SimpleNamespace(_executor=executor)
    )
    (launch.output / "job_id").write_text("7")
    outcome.write_bytes(pickle.dumps(("success", Payload(ran))))
    with pytest.raises(RunFailedError, match="7_0_result.pkl holds more than plain values"):
        launch.run(lambda done: None)
    (launch.output / "job_id").write_text("../7")
    with pytest.raises(RunFailedError, match="must be the number of a job"):
        launch.run(lambda done: None)
    outcome.write_bytes(pickle.dumps(("error", "Traceback ...")))
    check_plain_pickle(outcome)


def test_links_through_which_a_run_would_write(tmp_path):
    (tmp_path / "checkpoint.torch").symlink_to("model_phase0.torch")
    refuse_links(tmp_path, staged=False)
    (tmp_path / "model_phase0.torch").symlink_to("/etc/passwd")
    refuse_links(tmp_path, staged=True)
    with pytest.raises(ConfigError, match="model_phase0.torch is a link to '/etc/passwd'"):
        refuse_links(tmp_path, staged=False)
    (tmp_path / "metrics.json").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="metrics.json is a link to '/etc/passwd'"):
        refuse_links(tmp_path, staged=True)


def test_logs_with_anything_in_them(tmp_path):
    lines = [
        "[" * 100_000,
        "{" * 5,
        "[1]",
        '{"iter": "x", "loss": 1}',
        '{"iter": 1, "loss": "<script>"}',
        '{"iter": [], "loss": 1}',
        '{"iter": 2, "loss": 1.5, "lr": {"a": "b"}}',
    ]
    (tmp_path / "stdout.json").write_bytes("\n".join(lines).encode() + b"\n\xff\n")
    steps = History.of(tmp_path).steps
    assert [(step["iter"], step["loss"]) for step in steps] == [(2, 1.5)]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"evaluations": 1}', "[" * 100_000])
def test_results(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ConfigError, match="results.json is not a file of the form"):
        read_results(tmp_path / "results.json")


def test_results_of_another_checkpoint_are_not_put_on_a_card(tmp_path):
    (tmp_path / "weights").write_text("weights")
    results = {"sha256": "another", "evaluations": {"knn": {"metrics": {"top-1": 1.0}}}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert len(read_results(tmp_path / "results.json").numbers) == 1
    with pytest.raises(ConfigError, match="is of another checkpoint"):
        read_results(tmp_path / "results.json", tmp_path / "weights")


def test_a_picture_that_unfolds_into_more_than_memory(tmp_path, monkeypatch):
    Image.new("1", (64, 64)).save(tmp_path / "masked_views.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert picture_file(tmp_path / "masked_views.png") is None


def test_every_file_of_the_package_that_can_run_something_is_listed():
    """A new reader has to be listed in SECURITY.md, and to get a payload here."""
    root = Path(__file__).parents[1]
    calls = (
        "torch.load(",
        "yaml.",
        "np.load(",
        "pickle.",
        "jit.load(",
        "onnx.load(",
        "merge_from_",
    )
    calls += ("ElementTree.parse(", "load_file(")
    found = {
        str(file.relative_to(root))
        for folder in ("mscn_plugin", "extra_scripts", "hydra_plugins")
        for file in (root / folder).rglob("*.py")
        if any(call in file.read_text() for call in calls)
    }
    listed = (root / "SECURITY.md").read_text()
    assert [file for file in sorted(found) if os.path.basename(file) not in listed] == []
