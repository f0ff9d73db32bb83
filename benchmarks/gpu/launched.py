"""Small runs through VISSL's launcher, a process each: training, resume, evaluation, export."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.recorder import Recorder, require
from mscn_plugin.checkpoints.run_folder import json_lines
from mscn_plugin.runs.launch import last_line, tool

ROOT = Path(__file__).resolve().parents[2]

IN_PROCESS = (
    "import runpy, sys; sys.argv[0] = {!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
)
DETERMINISTIC_ALGORITHMS = (
    "import torch, warnings; warnings.simplefilter('always')\n"
    "torch.use_deterministic_algorithms(True, warn_only=True)\n" + IN_PROCESS.format(tool())
)
AS_IT_IS = "as it is"
KEY_ALONE = "config.REPRODUCIBILITY.CUDDN_DETERMINISTIC=True"
DETERMINISTIC = "the same and torch.use_deterministic_algorithms"
"""VISSL lets cuDNN choose by timing, which a process repeats in its own way; the key forbids it."""
NO_DETERMINISTIC_KERNEL = re.compile(r"(\w+) does not have a deterministic implementation")


def on_the_device(rec: Recorder) -> list[str]:
    """The overrides that send a configuration to the device."""
    if rec.on_gpu:
        return ["config.MACHINE.DEVICE=gpu", "config.DISTRIBUTED.BACKEND=nccl"]
    return ["config.MACHINE.DEVICE=cpu", "config.DISTRIBUTED.BACKEND=gloo"]


def start(
    folder: Path, overrides: list[str], code: str = "", environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start VISSL's launcher in ``folder``; its output goes to ``console.txt`` there."""
    folder.mkdir(parents=True, exist_ok=True)
    how = ["-c", code] if code else ["-W", "ignore", tool()]
    with (folder / "console.txt").open("ab") as console:
        return subprocess.Popen(
            [sys.executable, *how, *overrides, "config.CHECKPOINT.DIR=run"],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "2", **(environment or {})},
            stdout=console,
            stderr=subprocess.STDOUT,
        )


def finish(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Wait for a launcher; returns what it printed, and raises if it failed."""
    code = process.wait()
    console = (folder / "console.txt").read_text(errors="replace")
    require(code == 0, f"exit {code}: {last_line(console)}")
    return console


def launch(folder: Path, overrides: list[str], code: str = "") -> str:
    return finish(start(folder, overrides, code), folder)


def logged(folder: Path) -> list[dict[str, Any]]:
    """The lines of VISSL's ``stdout.json``."""
    return [line for line in json_lines(folder / "run" / "stdout.json") if "loss" in line]


def losses(folder: Path) -> list[float]:
    """The losses that a run has logged, in their order."""
    return [float(line["loss"]) for line in logged(folder)]


def online_accuracies(folder: Path) -> list[dict[str, float]]:
    lines = json_lines(folder / "run" / "metrics.json")
    return [line["online_evaluation"] for line in lines if "online_evaluation" in line]


def weights(folder: Path) -> dict[str, Any]:
    """All tensors of a run's last checkpoint, by their place in it."""
    import torch

    from mscn_plugin.checkpoints.complete import named_tensors

    checkpoint = torch.load(folder / "run" / "checkpoint.torch", map_location="cpu")
    return dict(named_tensors(checkpoint))


def few_photographs(rec: Recorder, of_each: int) -> Path:
    """A folder with ``of_each`` patches of every photograph of the quickstart, and some for val."""
    from mscn_plugin.data.photographs import build_photographs

    target = rec.folder / "images"
    for split, count in (("train", of_each), ("val", min(of_each, 4))):
        for source in sorted((Path(build_photographs()) / split).iterdir()):
            folder = target / split / source.name
            folder.mkdir(parents=True)
            for file in sorted(source.iterdir())[:count]:
                shutil.copy(file, folder)
    return target


def quickstart(rec: Recorder) -> None:
    """The quickstart as in docs/, on the device; then what can be done with its result."""
    folder = rec.shared / "quickstart"
    overrides = ["config=mscn/quickstart", *on_the_device(rec)]
    if rec.on_gpu:
        overrides.append("config.DATA.NUM_DATALOADER_WORKERS=6")
    else:
        overrides += [f"config.MSCN.DATA={few_photographs(rec, 1)}", *SMALL, *narrow(rec)]
    with rec.check("mscn/quickstart, all of it, through VISSL's launcher") as row:
        begin = time.monotonic()
        launch(folder, overrides)
        found = online_accuracies(folder)
        first, last = found[0], found[-1]
        row["detail"] = (
            f"{time.monotonic() - begin:.0f} s beside the other checks, imports included; kNN "
            f"{first['knn']:.1f} before and {last['knn']:.1f} after, linear probe "
            f"{first['linear_probe']:.1f} and {last['linear_probe']:.1f}"
        )
        if rec.on_gpu:
            require(last["knn"] > first["knn"] + 5, f"kNN has not risen: {row['detail']}")
    with ThreadPoolExecutor(3 if rec.on_gpu else 1) as pool:
        evaluations = CONFIGS if rec.on_gpu else CONFIGS[1:]
        jobs = [pool.submit(_evaluate, rec, folder, config) for config in evaluations]
        jobs.append(pool.submit(_export, rec, folder))
        for job in jobs:
            job.result()


CONFIGS = ("quick_frozen", "quick_linear")
SMALL = [
    "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=32",
    "config.DATA.NUM_DATALOADER_WORKERS=0",
    "config.OPTIMIZER.num_epochs=1",
    "config.OPTIMIZER.param_schedulers.lr.warmup_epochs=0",
    "config.MSCN.ONLINE_EVALUATION.NUM_NEIGHBORS=5",
]
"""For a CPU: a run of seconds."""


def narrow(rec: Recorder) -> list[str]:
    """On a CPU a trunk of mscn/quickstart and its like that trains, and compiles, in seconds.

    And a batch of which :func:`few_photographs` has two with one patch of each photograph.
    """
    if rec.on_gpu:
        return []
    section = "config.MODEL.TRUNK.SMALL_RESNET"
    few = "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8"
    return [f"{section}.DEPTH=10", f"{section}.WIDTH=8", few]


def script(name: str, arguments: list[str], folder: Path) -> str:
    """Run one of ``extra_scripts``; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "extra_scripts" / name), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    output = done.stdout + done.stderr
    require(done.returncode == 0, f"exit {done.returncode}: {last_line(output)}")
    return done.stdout


def _evaluate(rec: Recorder, folder: Path, config: str) -> None:
    epochs = 5 if rec.on_gpu else 1
    with rec.check(f"extra_scripts/evaluate.py --only {config}") as row:
        output = folder / config
        extra = [] if config == "quick_frozen" else [f"config.OPTIMIZER.num_epochs={epochs}"]
        arguments = ["run", "--only", config, "--output", str(output), "--overrides"]
        script("evaluate.py", [*arguments, *on_the_device(rec), *extra], folder)
        entry = json.loads((output / "results.json").read_text())["evaluations"][config]
        metrics = ", ".join(f"{name} {value:.1f}" for name, value in entry["metrics"].items())
        row["detail"] = f"{metrics}; {entry['seconds']:.0f} s"
        row["detail"] += f", {epochs} epochs" if extra else ""


def _export(rec: Recorder, folder: Path) -> None:
    import torch

    from mscn_plugin.export.torchscript_onnx import TORCHSCRIPT_FILE

    formats, named = ["torchscript"], "TorchScript"
    if rec.on_gpu:
        formats, named = [*formats, "onnx"], f"{named} and ONNX"
    with rec.check(f"extra_scripts/export.py, {named}") as row:
        arguments = ["run/checkpoint.torch", "--format", *formats, "--output", "export"]
        lines = script("export.py", arguments, folder).splitlines()
        found = [line.rsplit("by ", 1)[-1] for line in lines if "differ" in line]
        row["detail"] = "differences to VISSL's features: " + "; ".join(found)
    with rec.check("the TorchScript file on the device") as row:
        file = folder / "export" / TORCHSCRIPT_FILE
        images = torch.randn(8, 3, 56, 56)
        model = torch.jit.load(str(file), map_location="cpu").eval()
        with torch.no_grad():
            expected = model(images)
            observed = model.to(rec.device)(images.to(rec.device)).cpu()
        apart = float((observed - expected).abs().max() / expected.abs().max())
        row["detail"] = f"largest difference, relative to the largest feature: {apart:.1e}"
        require(apart < 5e-3, row["detail"])  # PyTorch convolves in TF32 on GPUs


CHANNELS_LAST = "config.MSCN.CHANNELS_LAST=True"
SYNC_BN = "config.MODEL.SYNC_BN_CONFIG.CONVERT_BN_TO_SYNC_BN=True"
AMP = "+config/mscn/memory=amp"
COMPILED = "+config/mscn/speed=compiled"
KINDS = {
    "SimCLR": "mscn/quickstart",
    "BYOL": "mscn/byol_quickstart",
    "Barlow Twins": "mscn/barlow_twins",
}
VARIANTS = {
    "SimCLR": [],
    "SimCLR, channels_last": [CHANNELS_LAST],
    "SimCLR, filter and masks in the workers": ["config.MSCN.DEVICE_VIEWS=False"],
    "SimCLR, activation checkpointing": ["+config/mscn/memory=activation_checkpointing"],
    "SimCLR, SyncBN": [SYNC_BN],
    "SimCLR, mixed precision": [AMP],
    "SimCLR, mixed precision, SyncBN, channels_last": [AMP, SYNC_BN, CHANNELS_LAST],
    "SimCLR, compiled": [COMPILED],
    "BYOL": [],
    "BYOL, SyncBN": [SYNC_BN],
    "BYOL, mixed precision, SyncBN": [AMP, SYNC_BN],
    "BYOL, compiled": [COMPILED],
    "Barlow Twins": ["+config/mscn/machine=gpu_1"],
}
"""Overrides by what a run is called: the kind, of :data:`KINDS`, and what differs from it."""
NUM_ON_CPU = 2
"""On a CPU VISSL has not all of it, compiling takes minutes, and two are enough."""


def variants(rec: Recorder) -> None:
    """Ten to twenty steps each of what differs on a GPU; the same seed, so the same views.

    The loss of the first step must be that of the plain run: every variant is the same function of
    the same weights.
    """
    images = few_photographs(rec, 80 if rec.on_gpu else 1)
    short = [
        f"config.MSCN.DATA={images}",
        *on_the_device(rec),
        *SMALL,
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        "config.LOG_FREQUENCY=1",
    ]
    if rec.on_gpu:
        short += [
            "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=64",
            "config.DATA.NUM_DATALOADER_WORKERS=2",
        ]
    short += narrow(rec)
    found: dict[str, list[float]] = {}

    def run(name: str) -> None:
        folder = rec.folder / re.sub(r"\W+", "_", name)
        with rec.check(f"trains: {name}") as row:
            config = KINDS[name.partition(", ")[0]]
            console = launch(folder, [f"config={config}", *short, *VARIANTS[name]])
            found[name] = losses(folder)
            row["detail"] = f"{len(found[name])} steps, loss {found[name][0]:.4f} to "
            row["detail"] += f"{found[name][-1]:.4f}"
            require(all(math.isfinite(value) for value in found[name]), row["detail"])
            require("embedding has collapsed" not in console, "the embedding has collapsed")

    with ThreadPoolExecutor(6 if rec.on_gpu else 1) as jobs:
        list(jobs.map(run, list(VARIANTS)[: None if rec.on_gpu else NUM_ON_CPU]))
    # Float16 keeps 11 bits; noise of the workers is not that of the device.
    for name, values in found.items():
        kind, _, variant = name.partition(", ")
        if not variant or "workers" in variant or kind not in found:
            continue
        with rec.check(f"first loss equals the plain run's: {name}") as row:
            apart = abs(values[0] - found[kind][0])
            allowed = 1e-2 if "mixed" in variant else 2e-3
            row["detail"] = f"difference {apart:.1e}, allowed {allowed:.0e}"
            require(apart <= allowed, row["detail"])
    if "SimCLR, mixed precision" in found:
        with rec.check("a run in mixed precision goes on in float32") as row:
            more = ["config.OPTIMIZER.num_epochs=2", "config.MSCN.RESUME_CHANGED=True"]
            folder = rec.folder / "SimCLR_mixed_precision"
            console = launch(folder, [f"config={KINDS['SimCLR']}", *short, *more])
            require("Resume from file" in console, "it has started over")
            row["detail"] = f"loss {losses(folder)[-1]:.4f} at the end"


class Resumed(NamedTuple):
    """A run that is killed and goes on, to be compared with those that are not.

    Attributes:
        way: what is asked of its kernels, :data:`AS_IT_IS` for instance.
    """

    rec: Recorder
    images: Path
    config: str
    way: str

    def begin(self, folder: Path) -> subprocess.Popen[bytes]:
        overrides = [
            f"config={self.config}",
            f"config.MSCN.DATA={self.images}",
            *on_the_device(self.rec),
            *SMALL,
            *narrow(self.rec),
            "config.OPTIMIZER.num_epochs=2",
            "config.DATA.NUM_DATALOADER_WORKERS=2",
            "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
            "config.CHECKPOINT.CHECKPOINT_ITER_FREQUENCY=3",
            "config.LOG_FREQUENCY=1",
            f"config.REPRODUCIBILITY.CUDDN_DETERMINISTIC={self.way != AS_IT_IS}",
        ]
        if self.way != DETERMINISTIC:
            return start(folder, overrides)
        workspace = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        return start(folder, overrides, DETERMINISTIC_ALGORITHMS, workspace)

    def unbroken(self, folder: Path) -> str:
        """Run it to its end; returns what it printed."""
        return finish(self.begin(folder), folder)

    def killed(self, folder: Path) -> str:
        """Kill it in the second epoch, and start it again; returns what both printed."""
        process = self.begin(folder)
        steps = 2 * 16 * 40 // 32 if self.rec.on_gpu else 4
        later = [folder / "run" / f"model_iteration{n}.torch" for n in range(steps // 2, steps)]
        while not any(file.is_file() for file in later):
            require(process.poll() is None, "the run ended before it could be killed")
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        console = self.unbroken(folder)
        require("Resume from file" in console, "it has started over")
        return console


def resume(rec: Recorder) -> None:
    """SIGKILL in the second epoch, and the same command again, beside two runs without a kill.

    Two, since a resumed run can only be as near to an unbroken one as that is to itself; on a CPU
    there is one.
    """
    images = few_photographs(rec, 40 if rec.on_gpu else 1)
    simclr, byol = KINDS["SimCLR"], KINDS["BYOL"]
    cases = [(simclr, AS_IT_IS)]
    if rec.on_gpu:
        cases += [(simclr, KEY_ALONE), (simclr, DETERMINISTIC), (byol, DETERMINISTIC)]
    with ThreadPoolExecutor(4 if rec.on_gpu else 1) as pool:
        list(pool.map(_compare, [Resumed(rec, images, *case) for case in cases]))


def _compare(case: Resumed) -> None:
    rec, config, way = case.rec, case.config, case.way
    place = rec.folder / config.split("/")[1] / re.sub(r"\W+", "_", way)
    with rec.check(f"{config}, SIGKILL and resume, {way}") as row:
        jobs = [*[case.unbroken] * (2 if rec.on_gpu else 1), case.killed]
        folders = [place / str(number) for number in range(len(jobs))]
        with ThreadPoolExecutor(3) as pool:
            runs = [pool.submit(job, folder) for job, folder in zip(jobs, folders)]
            consoles = [run.result() for run in runs]
        pair = folders[0], folders[-2]
        first, again, resumed = (weights(folder) for folder in (*pair, folders[-1]))
        missing = sorted(set(NO_DETERMINISTIC_KERNEL.findall("".join(consoles))))
        row["detail"] = (
            f"two unbroken runs: {apart(first, again)}; resumed and unbroken: "
            f"{apart(first, resumed)}"
        )
        row["detail"] += f"; {part_ways(*(losses(folder) for folder in pair))}"
        if missing:
            row["detail"] += f"; without a deterministic kernel: {', '.join(missing)}"
        row["bit_equal"] = {
            "two unbroken runs": apart(first, again) == "bit-equal",
            "resumed and unbroken": apart(first, resumed) == "bit-equal",
        }
        require(set(first) == set(resumed), "the checkpoints hold other tensors")


def apart(one: dict[str, Any], other: dict[str, Any]) -> str:
    """How far the weights of two checkpoints differ, in words."""
    import torch

    different = [name for name in one if name in other and not torch.equal(one[name], other[name])]
    if not different:
        return "bit-equal"
    model = [name for name in different if ".model." in name and name.endswith("weight")]
    squares = [
        [float((a[n].double() - b[n].double() * share).pow(2).sum()) for n in model]
        for a, b, share in ((one, other, 1), (one, one, 0))
    ]
    relative = (sum(squares[0]) / max(sum(squares[1]), 1e-30)) ** 0.5
    return f"{len(different)} of {len(one)} tensors differ, the weights by {relative:.1%}"


def part_ways(one: list[float], other: list[float]) -> str:
    """From which step on the logged losses of the two unbroken runs differ."""
    for step, (first, second) in enumerate(zip(one, other)):
        if first != second:
            return f"their losses part at step {step} of {len(one)}, by {abs(first - second):.1e}"
    return "their losses are equal in all logged digits"


def paper_config(rec: Recorder) -> None:
    """``mscn/simclr`` itself on one device: the loader's workers, the stage, ResNet-50, LARS."""
    from benchmarks.harness import photographs_as_jpegs

    batch, batches = (128, 10) if rec.on_gpu else (2, 2)
    images = jpegs(rec.folder, batch * batches, photographs_as_jpegs)
    overlay = "gpu_1" if rec.on_gpu else "cpu"
    common = [
        "config=mscn/simclr",
        f"+config/mscn/machine={overlay}",
        f"config.MSCN.DATA={images}",
        f"config.DATA.TRAIN.BATCHSIZE_PER_REPLICA={batch}",
        f"config.DATA.NUM_DATALOADER_WORKERS={14 if rec.on_gpu else 0}",
        "config.MULTI_PROCESSING_METHOD=fork",  # workers that start at once
        "config.OPTIMIZER.num_epochs=1",
        "config.OPTIMIZER.param_schedulers.lr.warmup_epochs=0",
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        "config.LOG_FREQUENCY=1",
    ]
    with rec.check("mscn/simclr on one GPU, K = 2, mixed precision, 224 px, batch 128") as row:
        extra = ["+config/mscn/memory=amp"]
        if not rec.on_gpu:
            narrow = "config.MODEL.TRUNK.RESNETS.WIDTH_PER_GROUP=8"
            small = "config.DATA.TRAIN.TRANSFORMS.1.size=64"
            extra = ["+config/mscn/memory=one_mask", narrow, small]
        launch(rec.folder / "paper_config", [*common, *extra])
        found = losses(rec.folder / "paper_config")
        peak = max(line["peak_mem(M)"] for line in logged(rec.folder / "paper_config"))
        row["detail"] = f"{len(found)} steps, loss {found[0]:.3f} to {found[-1]:.3f}"
        row["detail"] += f", peak memory by VISSL's log {peak / 1024:.1f} GiB"
        require(all(math.isfinite(value) for value in found), row["detail"])


def jpegs(folder: Path, count: int, make: Callable[[Path, int], Path]) -> Path:
    """An ImageFolder of ``count`` JPEGs of 500 x 375 pixels: 128 photographs and links to them."""
    made = min(count, 128)
    images = make(folder / "jpegs", made)
    files = sorted(images.glob("train/*/*.jpg"))
    for number in range(made, count):
        os.link(files[number % made], files[0].with_name(f"{number:06}.jpg"))
    return images
