"""mscn detect and mscn draw detections, and VISSL's detection tool beside them."""

from __future__ import annotations

import json
import pathlib
import re
import shutil

import numpy as np
import pytest
import torch
from conftest import run_command, run_python
from detection_fixtures import picture, write_coco
from PIL import Image

from mscn_plugin.detection.environment import MODULE
from mscn_plugin.detection.launch import TOOL, convert, results

pytestmark = [pytest.mark.process, pytest.mark.detectron2]

SMALL = (
    *("SOLVER.MAX_ITER", "1", "SOLVER.IMS_PER_BATCH", "1", "SOLVER.BASE_LR", "0.001"),
    *("INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MIN_SIZE_TEST", "96", "DATALOADER.NUM_WORKERS", "0"),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", "20", "MODEL.RPN.POST_NMS_TOPK_TEST", "3"),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "4", "TEST.PRECISE_BN.NUM_ITER", "1"),
)
"""Of detectron2's configuration: a run of seconds, most of which the layers of boxes take."""


def test_voc_and_its_pictures(resnet_runs, datasets, mscn, capsys, tmp_path):
    """A SimCLR checkpoint through the page for VOC; then drawn."""
    output = tmp_path / "voc"
    small = (*SMALL, "SEED", "1")  # with 0, it finds nothing
    result = run_command(
        *("detect", resnet_runs["simclr"], "--dataset", "voc", "--data", datasets),
        *("--output", output, "--overrides", *small),
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    assert "265 tensors of the trunk, filter sigma 1.25" in result.stdout
    table = result.stdout[result.stdout.index("in %") :].splitlines()
    assert table[0].split()[2:] == ["box", "AP", "box", "AP50", "box", "AP75"]
    measured = results(output, 1)
    assert table[2].split()[:2] == ["this", "checkpoint"]
    assert [float(text) for text in table[2].split()[2:]] == pytest.approx(
        [measured[f"bbox/{name}"] for name in ("AP", "AP50", "AP75")], abs=0.051
    )
    assert table[8].split()[:1] + table[8].split()[-3:] == ["MSCN,", "57.5", "83.0", "64.4"]
    assert "MSCN, of SimCLR or BYOL: not stated (Table 4)" in table[8]
    assert table[4].startswith("MoCo v2 (cited) (Table 4)")
    assert "then 24,000 iterations of 16 images of VOC07+12." in result.stdout
    assert f"This checkpoint's is another: {' '.join(small)}" in result.stdout
    config = (output / "config.yaml").read_text()
    assert "SIGMA: 1.25" in config
    assert "META_ARCHITECTURE: MSCNGeneralizedRCNN" in config

    assert json.loads((output / "results.json").read_text()) == measured
    for method, more, status, message in (
        ("simclr", small, 0, "is finished; --restart starts over"),
        ("simclr", (*small, "SOLVER.BASE_LR", "0.002"), 1, "differs in SOLVER.BASE_LR (was 0.001"),
        ("byol", small, 1, "differs in the checkpoint to start from"),
    ):
        command = ("detect", resnet_runs[method], "--dataset", "voc", "--data", datasets)
        command += ("--output", output, "--overrides", *more)
        if status:
            with pytest.raises(SystemExit, match=re.escape(message)):
                mscn(*command)
        else:
            mscn(*command)
            assert message in capsys.readouterr().out

    folder = tmp_path / "pictures"
    folder.mkdir()
    photograph = folder / "photograph.jpg"
    picture(12).save(photograph)  # one of the test set
    (folder / "text.jpg").write_text("no picture")
    result = run_command(
        *("draw detections", output, folder),
        *("--output", tmp_path / "drawn", "--threshold", "0"),
    )
    assert result.returncode == 1
    assert f"1 of 2 could not be read: {folder / 'text.jpg'}" in result.stderr
    drawn = tmp_path / "drawn" / "photograph.png"
    found = int(result.stdout.split(f"{drawn}: ")[1].split()[0])
    assert found > 0
    pixels = np.asarray(Image.open(drawn).convert("RGB"), float)
    assert pixels.shape == (128, 160, 3)
    assert np.abs(pixels - np.asarray(Image.open(photograph), float)).max() > 50


def test_classes_of_ones_own_after_a_kill(resnet_runs, detectron2, tmp_path):
    """A BYOL checkpoint with masks of two classes, one mask as run lengths.

    A second run finds what a kill during the second checkpoint leaves, and ends as the first.
    """
    data = write_coco(tmp_path / "data")
    file = data / "annotations" / "train.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["segmentation"] = {
        "size": [128, 160],
        "counts": [1300, 5000, 128 * 160 - 6300],
    }
    file.write_text(json.dumps(content))
    ends = []
    for name in ("whole", "killed"):
        output = tmp_path / name
        if ends:
            shutil.copytree(tmp_path / "whole", output)
            for late in ("model_final.pth", "results.json"):
                (output / late).unlink()
            newest = output / "model_0000001.pth"
            newest.write_bytes(newest.read_bytes()[:1000])
        result = run_command(
            *("detect", resnet_runs["byol"], "--dataset", "custom", "--data", data),
            *("--output", output, "--overrides", *SMALL, "SOLVER.MAX_ITER", "2"),
            *("SOLVER.CHECKPOINT_PERIOD", "1"),
        )
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
        assert "mask AP75" in result.stdout
        assert "(Table 4)" not in result.stdout
        assert ("model_0000001.pth is damaged" in result.stdout) == (name == "killed")
        assert ("model_0000000.pth, after iteration 0" in result.stdout) == (name == "killed")
        ends.append(torch.load(output / "model_final.pth", weights_only=True))
    assert json.loads((output / "classes.json").read_text()) == ["fish", "fowl"]
    config = (output / "config.yaml").read_text()
    assert "NUM_CLASSES: 2" in config
    assert "MASK_FORMAT: bitmask" in config
    whole, killed = (end["model"] for end in ends)
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    before = torch.load(output / "model_0000000.pth", weights_only=True)["model"]
    assert not all(torch.equal(before[name], killed[name]) for name in killed)
    lines = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert sum("bbox/AP" in line for line in lines) == 1


def test_vissls_own_page_with_two_keys(resnet_runs, datasets, tmp_path):
    """VISSL's unmodified tool and its unmodified page for COCO."""
    import configs

    convert(resnet_runs["simclr"] / "checkpoint.torch", tmp_path / "converted.pth")
    page = (
        "config/benchmark/object_detection/COCOInstance/R50_C4_MaskRCNN_COCO/"
        "sBNExtraNorm_fz0_precBN.yaml"
    )
    run_python(
        *(TOOL, "--config-file", pathlib.Path(configs.__path__[0]) / page, "--num-gpus", "0"),
        *("MODEL.META_ARCHITECTURE", "MSCNGeneralizedRCNN", "MODEL.MSCN.SIGMA", "1.25"),
        *("MODEL.WEIGHTS", tmp_path / "converted.pth", "MODEL.DEVICE", "cpu"),
        *("OUTPUT_DIR", tmp_path / "run", *SMALL),
        env={"DETECTRON2_ENV_MODULE": MODULE, "DETECTRON2_DATASETS": str(datasets)},
    )
    measured = results(tmp_path / "run", 1)
    # Without a single detection, as seeds may have it, detectron2 reports three of them, as NaN.
    assert {"bbox/AP", "bbox/AP50", "bbox/AP75"} <= set(measured)
    assert "MSCNGeneralizedRCNN" in (tmp_path / "run" / "config.yaml").read_text()


OVERRIDES = ("--dataset", "voc", "--data", "{data}", "--overrides")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--dataset", "voc", "--data", "{tmp}"),
            "needs VOC2007/ImageSets/Main/trainval.txt in {tmp}",
        ),
        (("--dataset", "custom", "--data", "{tmp}"), "{tmp} is not detection data"),
        (("--dataset", "coco", "--sigma", "3"), "1.25"),
        ((*OVERRIDES, "SOLVER.MAX_ITERS", "3"), "Non-existent key: SOLVER.MAX_ITERS"),
        ((*OVERRIDES, "SOLVER.BASE_LR", "one"), "config key: SOLVER.BASE_LR"),
        ((*OVERRIDES, "SOLVER.BASE_LR"), "takes KEY VALUE pairs"),
        ((*OVERRIDES, "INPUT.FORMAT", "BGR"), "INPUT.FORMAT is BGR; it must be RGB"),
        ((*OVERRIDES, "SOLVER.MAX_ITER", "0"), "SOLVER.MAX_ITER is 0; it must be at least 1"),
        (("--dataset", "voc", "--data", "{data}", "--num-gpus", "99"), "--num-gpus is 99"),
    ],
)
def test_one_sentence_before_anything_is_written(
    resnet_runs, datasets, tmp_path, arguments, message
):
    arguments = [text.format(tmp=tmp_path, data=datasets) for text in arguments]
    result = run_command("detect", resnet_runs["simclr"], *arguments, "--output", tmp_path / "run")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("mscn detect: ")
    assert message.format(tmp=tmp_path) in result.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_another_trunk_is_the_first_thing_said(detectron2, checkpoints, mscn, tmp_path):
    command = ("detect", checkpoints["simclr"], "--dataset", "voc", "--data", tmp_path)
    with pytest.raises(SystemExit, match="no model of the architecture of small_resnet"):
        mscn(*command, "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_drawing_needs_a_detector(tmp_path):
    result = run_command("draw detections", tmp_path, tmp_path / "a.jpg")
    assert result.returncode == 1
    assert f"mscn draw detections: {tmp_path / 'config.yaml'} is not a file" in result.stderr


def test_of_a_training_that_has_not_ended_the_newest_weights_are_named(detectron2, mscn, tmp_path):
    run = tmp_path / "my run"
    run.mkdir()
    for name in ("config.yaml", "model_0000009.pth", "model_0000099.pth"):
        (run / name).touch()
    newest = rf"model_final.pth is not a file; .*: --weights '{run}/model_0000099.pth'"
    with pytest.raises(SystemExit, match=newest):
        mscn("draw detections", run, tmp_path / "a.jpg")
