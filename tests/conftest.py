"""Fixtures that many tests share."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest_plugins = ["detection_fixtures"]

# Tools and workers that the tests start share two cores.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def registered():
    """MSCN in VISSL's registries, and Classy Vision set to the CPU, on which the tests run."""
    from classy_vision.generic.distributed_util import set_cpu_device

    import mscn_plugin

    mscn_plugin.register()
    set_cpu_device()


@pytest.fixture
def run_script(monkeypatch):
    """Run a script of ``extra_scripts`` by its name, in this process, which has its imports."""

    def run(name, *arguments):
        script = str(Path(__file__).parents[1] / "extra_scripts" / name)
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(script, run_name="__main__")

    return run


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory) -> Path:
    """A folder with train/ (4 x 8 images) and val/ (4 x 3 images) of coloured texture."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.RandomState(0)
    for split, count in (("train", 8), ("val", 3)):
        for label in range(4):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = random.randint(0, 60, (64, 64, 3)) + 48 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def large_folder(image_folder, tmp_path_factory) -> Path:
    """A folder with as many images as the paper's batch has: links to those of `image_folder`."""
    root = tmp_path_factory.mktemp("many")
    for source in image_folder.rglob("*.png"):
        target = root / source.relative_to(image_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        for copy in range(128 if "train" in target.parts else 1):
            os.link(source, target.with_name(f"{copy}_{target.name}"))
    return root


@pytest.fixture
def compose(registered, tmp_path, monkeypatch):
    """Compose and check a configuration as VISSL's tool does; returns its ``config`` part."""
    monkeypatch.chdir(tmp_path)

    def compose_config(*overrides: str):
        from vissl.utils import hydra_config

        cfg = hydra_config.compose_hydra_configuration(list(overrides))
        return hydra_config.convert_to_attrdict(cfg, dump_config=False)[1]

    return compose_config


TINY = (
    "config.DATA.NUM_DATALOADER_WORKERS=0",
    "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8",
    "config.MODEL.TRUNK.SMALL_RESNET.WIDTH=4",
    "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[32,16]}]]",
    "config.OPTIMIZER.num_epochs=1",
    "config.OPTIMIZER.param_schedulers.lr.warmup_epochs=0",
    "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=1",
    "config.MSCN.ONLINE_EVALUATION.NUM_NEIGHBORS=3",
)
"""Overrides that make of mscn/quickstart a run of seconds."""


BYOL_HEADS = (
    "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[null,24,8],use_bn:true,use_relu:true}],"
    "[mlp,{dims:[8,24,8],use_bn:true,use_relu:true}]]"
)
"""Projector and predictor of a BYOL run of seconds."""


@pytest.fixture
def tiny(image_folder):
    """The overrides of a run of seconds on :func:`image_folder`."""
    return (f"config.MSCN.DATA={image_folder}", "config.CHECKPOINT.DIR=run", *TINY)


@pytest.fixture
def run_tool(tmp_path):
    """Run VISSL's own, unmodified launching tool in an empty folder."""

    def run(*overrides: str, by_path: bool = False, cwd: Path = tmp_path, check: bool = True):
        result = subprocess.run(
            [sys.executable, *tool(by_path), *overrides],
            cwd=cwd,
            env=tool_environment(),
            capture_output=True,
            text=True,
            timeout=600,
        )
        if check and result.returncode:
            pytest.fail(
                f"exit {result.returncode}\n{result.stdout[-3000:]}\n{result.stderr[-5000:]}"
            )
        return result

    return run


def tool(by_path: bool = False):
    """Arguments for Python that start ``tools/run_distributed_engines.py`` of the VISSL wheel."""
    if not by_path:
        return ["-m", "tools.run_distributed_engines"]
    import tools.run_distributed_engines as module

    return [module.__file__]


def tool_environment():
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "WORLD_SIZE", "RANK")}


@pytest.fixture(scope="session")
def checkpoints(image_folder, tmp_path_factory):
    """Folders of a SimCLR and a BYOL run of seconds, by the loss's first word."""
    folders = {}
    pages = {"simclr": ("quickstart",), "byol": ("byol_quickstart", BYOL_HEADS)}
    for name, (page, *heads) in pages.items():
        folders[name] = tmp_path_factory.mktemp(name) / "run"
        data = f"config.MSCN.DATA={image_folder}"
        pretrain(folders[name], f"config=mscn/{page}", *TINY, *heads, data)
    return folders


def pretrain(folder, *overrides):
    """Pre-train by VISSL's own launching tool into an empty folder."""
    result = subprocess.run(
        [
            *(sys.executable, *tool(), *overrides, f"config.CHECKPOINT.DIR={folder}"),
            "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        ],
        cwd=folder.parent,
        env=tool_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-5000:]


def with_statistics(trunk):
    """The trunk itself, its running statistics no longer those of a fresh one."""
    for name, buffer in trunk.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.2)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return trunk
