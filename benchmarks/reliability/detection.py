"""``python -m benchmarks.reliability.detection``: SIGKILL at three moments of ``detect.py``.

On a CPU, in about five minutes. One run is left alone; another is killed before its first
checkpoint, while a later one is written, and during the evaluation, each time with the same command
again. Prints what the restarts said, and whether weights, optimizer and AP are equal; ends with 1
if they are not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.reliability.runs import TIMEOUT, write_images
from mscn_plugin.checkpoints.complete import named_tensors

DETECT = Path(__file__).resolve().parents[2] / "extra_scripts" / "detect.py"
MOMENTS = ("Starting training from", "model_0000003.pth", "Start inference")
"""What the log says where the run is killed."""
SMALL = (
    *("SOLVER.MAX_ITER", "6", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.BASE_LR", "0.001"),
    *("SOLVER.CHECKPOINT_PERIOD", "2", "DATALOADER.NUM_WORKERS", "0"),
    *("INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MIN_SIZE_TEST", "96"),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", "20", "MODEL.RPN.POST_NMS_TOPK_TEST", "8"),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "8", "TEST.PRECISE_BN.NUM_ITER", "1"),
)


def pretrain(folder: Path) -> Path:
    """A ResNet-50 after one iteration."""
    data = write_images(folder / "images", 8)
    overrides = (
        *("config=mscn/quickstart", f"config.MSCN.DATA={data}", f"config.CHECKPOINT.DIR={folder}"),
        *("config.MODEL.TRUNK.NAME=resnet", "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8"),
        "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[null,16,8],use_bn:true,use_relu:true}]]",
        *("config.OPTIMIZER.num_epochs=1", "config.OPTIMIZER.param_schedulers.lr.warmup_epochs=0"),
        *("config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0", "config.DATA.TRAIN.DATA_LIMIT=8"),
        "config.DATA.NUM_DATALOADER_WORKERS=0",
    )
    command = [sys.executable, "-W", "ignore", "-m", "tools.run_distributed_engines", *overrides]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)
    return folder


def write_boxes(folder: Path) -> Path:
    """Ten pictures with a box each, as LabelImg leaves them: the split is made by ``detect.py``."""
    folder.mkdir()
    random = np.random.RandomState(0)
    for index in range(10):
        pixels = random.randint(90, 120, (60, 80, 3))
        pixels[10:40, 20:60] = 255
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.JPG")
        corners = "<xmin>21</xmin><ymin>11</ymin><xmax>60</xmax><ymax>40</ymax>"
        (folder / f"{index}.xml").write_text(
            "<annotation><size><width>80</width><height>60</height></size>"
            f"<object><name>box</name><bndbox>{corners}</bndbox></object></annotation>"
        )
    return folder


def detect(source: Path, data: Path, output: Path, until: str = "") -> tuple[int, str]:
    """Run ``detect.py``, killed as soon as its log says ``until``; its status and its log."""
    command = [sys.executable, "-W", "ignore", str(DETECT), str(source), "--dataset", "custom"]
    command += ["--data", str(data), "--output", str(output), "--num-gpus", "0"]
    log = output.with_suffix(".log")
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, "--overrides", *SMALL],
            stdout=stream,
            stderr=stream,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        end = time.monotonic() + TIMEOUT
        while process.poll() is None and time.monotonic() < end:
            if until and until in log.read_text():
                process.kill()
            time.sleep(0.01)
        process.kill()
    return process.wait(), log.read_text()


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source, data = pretrain(folder / "run"), write_boxes(folder / "data")
        statuses: list[int] = [detect(source, data, folder / "unbroken")[0]]
        for moment in (*MOMENTS, ""):
            status, log = detect(source, data, folder / "killed", moment)
            statuses.append(status)
            print(f"until {moment or 'the end'!r}: status {status}")
            said = [line for line in log.splitlines() if line.startswith(("resuming", "skipping"))]
            print(*said, sep="\n")
        ends: list[dict[str, torch.Tensor]] = []
        for name in ("unbroken", "killed"):
            final = torch.load(folder / name / "model_final.pth", weights_only=True)
            ends.append(dict(named_tensors(final)))
        results = [(folder / name / "results.json").read_text() for name in ("unbroken", "killed")]
    differing = [name for name in ends[0] if not torch.equal(ends[0][name], ends[1][name])]
    print(f"{len(differing)} of {len(ends[0])} tensors differ; results: {results[0]} {results[1]}")
    if statuses != [0, -9, -9, -9, 0] or differing or results[0] != results[1]:
        sys.exit(1)


if __name__ == "__main__":
    main()
