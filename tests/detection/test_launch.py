"""From a checkpoint to a detector."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from conftest import run_python
from detection_fixtures import write_coco
from vissl.models.trunks import get_model_trunk
from vissl_checkpoints import model_config, write_checkpoint

from mscn_plugin.detection.launch import (
    CONFIGS,
    Detection,
    check_run,
    convert,
    detection,
    require_detectron2,
    results,
)
from mscn_plugin.detection.transfer import Transfer
from mscn_plugin.errors import ConfigError


@pytest.mark.process
@pytest.mark.parametrize("method", ["simclr", "byol"])
def test_the_conversion_is_vissls_own(resnet_runs, method, tmp_path):
    checkpoint = resnet_runs[method] / "checkpoint.torch"
    assert convert(checkpoint, tmp_path / "ours.pth") == 265
    run_python(
        *("-m", "extra_scripts.convert_vissl_to_detectron2"),
        *("--input_model_file", checkpoint, "--output_model", "theirs.pth"),
        *("--weights_type", "torch", "--state_dict_key_name", "classy_state_dict"),
        cwd=tmp_path,
    )
    ours, theirs = (
        torch.load(tmp_path / f"{name}.pth", weights_only=True) for name in ("ours", "theirs")
    )
    assert ours["matching_heuristics"] == theirs["matching_heuristics"]
    assert ours["model"].keys() == theirs["model"].keys()
    for name, tensor in theirs["model"].items():
        assert torch.equal(ours["model"][name], tensor), name


@pytest.mark.process
@pytest.mark.detectron2
@pytest.mark.parametrize("method", ["simclr", "byol"])
def test_every_tensor_of_the_checkpoint_is_in_the_detector(
    detection_tool, detection_config, resnet_runs, method, tmp_path
):
    """What the checkpoint lacks is the heads, and the normalization that VISSL's tool adds."""
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    checkpoint = resnet_runs[method] / "checkpoint.torch"
    convert(checkpoint, tmp_path / "converted.pth")
    model = build_model(detection_config(CONFIGS["coco"], "MODEL.DEVICE", "cpu"))
    reports = []

    class Recorded(DetectionCheckpointer):
        def _load_model(self, checkpoint):
            reports.append(super()._load_model(checkpoint))
            return reports[-1]

    Recorded(model).load(str(tmp_path / "converted.pth"))
    assert not reports[0].unexpected_keys
    missing = {key.rpartition(".")[0] for key in reports[0].missing_keys}
    heads = ("proposal_generator.", "roi_heads.box_predictor.", "roi_heads.mask_head.")
    assert {key for key in missing if not key.startswith(heads)} == {"roi_heads.res5.norm"}

    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    trunk = state["classy_state_dict"]["base_model"]["model"]["trunk"]
    detector = model.state_dict()
    compared = 0
    for name, tensor in trunk.items():
        if name.endswith("num_batches_tracked"):
            continue
        part = "roi_heads." if "layer4" in name else "backbone."
        assert torch.equal(detector[part + by_hand(name)], tensor), name
        compared += 1
    assert compared == 265


def by_hand(name):
    """detectron2's name of one of VISSL's, by another way than the package's."""
    parts = name.split(".")[1:]
    if parts[0] in ("conv1", "bn1"):
        return ".".join(["stem.conv1", *(["norm"] if parts[0] == "bn1" else []), parts[-1]])
    stage = f"res{int(parts[0][-1]) + 1}"
    if parts[2] == "downsample":
        inner = ["shortcut"] if parts[3] == "0" else ["shortcut", "norm"]
    else:
        inner = [f"conv{parts[2][-1]}"] + (["norm"] if parts[2].startswith("bn") else [])
    return ".".join([stage, parts[1], *inner, parts[-1]])


def test_another_trunk_is_said_before_the_data_are_looked_at(registered, tmp_path):
    file = write_checkpoint(tmp_path / "a.torch", resnet_weights(channels=6))
    transfer = Transfer(
        checkpoint=file,
        sigma=1.25,
        dataset="custom",
        data=tmp_path / "no_data",
        output=tmp_path / "out",
        num_gpus=0,
    )
    with pytest.raises(ConfigError, match="take a ResNet-50, which has 265"):
        transfer.run()
    bgr = dataclasses.replace(transfer, config=run_of([], INPUT_TYPE="bgr"))
    with pytest.raises(ConfigError, match="INPUT_TYPE bgr"):
        bgr.run()
    assert not transfer.output.exists()


def test_runs_on_several_gpus_do_not_meet_at_one_port(detectron2):
    """detectron2 takes a free one; its default is the same for all runs of a user."""
    from detectron2.engine import default_argument_parser

    cfg = SimpleNamespace(SOLVER=SimpleNamespace(CHECKPOINT_PERIOD=5))
    job = Detection(CONFIGS["voc"], ["OUTPUT_DIR", "/a"], {}, "")
    for num_gpus in (0, 1, 4):
        command = job.command("python", num_gpus, cfg)[2:]
        parsed = default_argument_parser().parse_args(command)
        assert (parsed.dist_url == "auto") == (num_gpus > 1)
        assert parsed.opts[:2] == ["OUTPUT_DIR", "/a"]


def test_other_trunks_are_refused(checkpoints, tmp_path):
    with pytest.raises(ConfigError, match="take a ResNet-50, which has 265"):
        convert(checkpoints["simclr"] / "checkpoint.torch", tmp_path / "converted.pth")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("resnet", "message"),
    [
        ({"channels": 6}, r"265 tensors \(stem.conv1.weight of \[64, 6, 7, 7\]"),
        ({"GROUPS": 32, "WIDTH_PER_GROUP": 4}, r"res5.2.conv3.weight of \[2048, 1024, 1, 1\]"),
        ({"DEPTH": 101}, "a trunk of 520 tensors"),
    ],
)
def test_other_resnets_are_refused(registered, tmp_path, resnet, message):
    weights = resnet_weights(**resnet)
    with pytest.raises(ConfigError, match=message):
        convert(write_checkpoint(tmp_path / "a.torch", weights), tmp_path / "converted.pth")


def resnet_weights(channels=3, **settings):
    config = model_config(**settings)
    with torch.device("meta"):
        trunk = get_model_trunk("resnet")(config, "resnet")
    shapes = {name: tensor.shape for name, tensor in trunk.state_dict().items()}
    shapes["_feature_blocks.conv1.weight"] = (64, channels, 7, 7)
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


HALF = [127.5, 102.0, 25.5]


def run_of(transforms, channels=None, **model):
    """The configuration of a run with a ResNet-50."""
    return {
        "MODEL": {**json.loads(json.dumps(model_config())), **model},
        "MSCN": {"CHANNELS": channels},
        "DATA": {"TRAIN": {"TRANSFORMS": transforms}},
    }


@pytest.mark.parametrize(
    ("transforms", "mean", "std"),
    [
        (None, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
        ([], [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
        ([{"name": "Normalize", "mean": [0.5, 0.4, 0.1], "std": [0.2] * 3}], HALF, [51.0] * 3),
        ([{"name": "Normalize", "mean": [0.5], "std": [0.2]}], [127.5] * 3, [51.0] * 3),
        ([{"name": "ToTensor"}], [0.0] * 3, [255.0] * 3),
    ],
)
def test_the_detector_sees_pixels_as_the_run_did(detectron2, tmp_path, transforms, mean, std):
    config = None if transforms is None else run_of(transforms)
    data, output = write_coco(tmp_path / "data"), tmp_path / "out"
    cfg = detection("custom", tmp_path / "w.pth", 5.0, output, data, (), config).check(0)
    assert (mean, std) == (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
    with pytest.raises(ConfigError, match="INPUT.FORMAT is BGR; it must be RGB"):
        detection(
            "custom", tmp_path / "w.pth", 0.0, output, data, ("INPUT.FORMAT", "BGR"), config
        ).check(0)


def test_runs_that_detectron2_cannot_go_on_from(registered):
    check_run(None)
    check_run(run_of([]))
    for config, message in (
        (run_of([], INPUT_TYPE="bgr"), "INPUT_TYPE bgr"),
        (run_of([], channels=6), "arrays .config.MSCN.CHANNELS 6"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_run(config)


@pytest.mark.parametrize(
    ("dataset", "folder"), [("voc", "VOC2007/ImageSets"), ("coco", "coco/annotations")]
)
def test_missing_data_are_named(dataset, folder, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=f"needs {folder}/.* in {tmp_path}"):
        detection(dataset, tmp_path / "w.pth", 5.0, tmp_path, tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", "/nowhere")
    with pytest.raises(ConfigError, match=f"needs {folder}/.* in /nowhere"):
        detection(dataset, tmp_path / "w.pth", 5.0, tmp_path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("MODEL.MSCN.SIGMA", "0.0"),
            "MODEL.MSCN.SIGMA cannot be overridden; it is pre-training's",
        ),
        (("MODEL.WEIGHTS", "a.pth"), "MODEL.WEIGHTS cannot be overridden; it is the converted"),
        (("OUTPUT_DIR", "a"), "OUTPUT_DIR cannot be overridden; --output sets it"),
        (("SOLVER.MAX_ITER=2",), "takes KEY VALUE pairs, not 'SOLVER.MAX_ITER=2'"),
        (("SOLVER.BASE_LR",), "takes KEY VALUE pairs, not 'SOLVER.BASE_LR'"),
    ],
)
def test_what_cannot_be_overridden(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        detection("voc", tmp_path / "w.pth", 5.0, tmp_path, None, overrides)


def test_custom_needs_data(tmp_path):
    with pytest.raises(ConfigError, match="--dataset custom needs --data"):
        detection("custom", tmp_path / "w.pth", 5.0, tmp_path)


def test_missing_detectron2_is_explained(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install --no-build-isolation 'git"):
        require_detectron2()


def test_results_are_those_of_the_last_iteration(tmp_path):
    assert results(tmp_path, 10) == {}
    file = tmp_path / "metrics.json"
    file.write_text('{"bbox/AP": 1.0, "iteration": 4}\n{"loss": 2, "iteration": 9}\n{"bbox')
    assert results(tmp_path, 10) == {}
    with file.open("a") as stream:
        stream.write('\n{"bbox/AP": 3.0, "bbox/AP50": 4.0, "iteration": 10}\n')
    assert results(tmp_path, 10) == {"bbox/AP": 3.0, "bbox/AP50": 4.0}


@pytest.mark.parametrize(
    ("overrides", "num_gpus", "message"),
    [
        (("MODEL.MASK_ON", "True"), 0, "MODEL.MASK_ON is True, but not every object"),
        (("SOLVER.IMS_PER_BATCH", "3"), 2, "IMS_PER_BATCH is 3; it must be a multiple of the 2"),
        (("SOLVER.CHECKPOINT_PERIOD", "0"), 1, "CHECKPOINT_PERIOD is 0; it must be at least 1"),
        (("MODEL.ROI_HEADS.NUM_CLASSES", "3"), 0, "NUM_CLASSES cannot be overridden; it is the"),
    ],
)
def test_what_does_not_go_with_the_data(detectron2, tmp_path, overrides, num_gpus, message):
    folder = write_coco(tmp_path / "data")
    for split in ("train", "val"):
        file = folder / "annotations" / f"{split}.json"
        file.write_text(file.read_text().replace("segmentation", "no_segmentation"))
    with pytest.raises(ConfigError, match=message):
        detection("custom", tmp_path / "w.pth", 5.0, tmp_path / "out", folder, overrides).check(
            num_gpus
        )


def test_the_output_is_not_among_the_data(tmp_path):
    folder = write_coco(tmp_path / "data")
    with pytest.raises(ConfigError, match="is in --data; it must be another folder"):
        detection("custom", tmp_path / "w.pth", 5.0, folder / "out", folder)
