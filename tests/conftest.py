"""Fixtures that many tests share.

What a test needs is said by its marks (see ``pyproject.toml``): a test that starts a process has
the mark ``process``, and gets a ``sys.executable`` that has imported everything before
(:mod:`warm_python`), unless it has ``new_interpreter``.
"""

from __future__ import annotations

import fcntl
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import remembered
import slurm_stand_in
import torch
import warm_python
from browser import CHROMIUM, Browser
from PIL import Image

from mscn_plugin.training.signals import SCRIPT_SIGNALS

pytest_plugins = ["detection_fixtures"]

# Tools and workers that the tests start share two cores.
# A shell starts jobs in the background with Ctrl-C ignored, and so would be all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
remembered.install()


NEW_INTERPRETER = sys.executable
"""For tests with the mark ``process`` that need the real one for a part of what they start."""


def pytest_collection_modifyitems(items):
    """Mark a test by the fixtures that it uses, as far as they say what it needs."""
    for item in items:
        for fixture, mark in (
            ("browser", "browser"),
            ("python", "process"),
            ("run_tool", "process"),
            ("detectron2", "detectron2"),
            ("compose", "hydra"),
            ("composed", "hydra"),
        ):
            if fixture in item.fixturenames:
                item.add_marker(mark)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """A program to call in the place of ``python``, which has imported everything before."""
    with warm_python.started(tmp_path_factory.mktemp("warm")) as program:
        yield program


@pytest.fixture(autouse=True)
def _python_of_the_marks(request, monkeypatch):
    marks = {mark.name for mark in request.node.iter_markers()}
    if "new_interpreter" in marks:
        return
    if "process" in marks:
        monkeypatch.setattr(sys, "executable", request.getfixturevalue("python"))
        return
    start = subprocess.Popen.__init__

    def refuse(self, args, *more, **options):
        name = args if isinstance(args, (str, Path)) else args[0]
        if "python" in Path(name).name:
            pytest.fail("a test that starts processes needs @pytest.mark.process", pytrace=False)
        start(self, args, *more, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)


@pytest.fixture(scope="session")
def slurm_programs(tmp_path_factory):
    return slurm_stand_in.write(tmp_path_factory.mktemp("slurm"))


@pytest.fixture
def stand_in_for_slurm(slurm_programs, monkeypatch):
    """SLURM's programs are those of :mod:`slurm_stand_in`, also where there are real ones."""
    monkeypatch.setenv("PATH", f"{slurm_programs}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(autouse=True)
def _slurm_of_the_mark(request):
    if request.node.get_closest_marker("slurm") and "slurm" not in request.fixturenames:
        request.getfixturevalue("stand_in_for_slurm")


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Build a folder once for all of pytest's workers; returns its path.

    A lock keeps the others waiting; a build that failed is tried again.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def folder_of(name: str, build) -> Path:
        folder, done = base / name, base / f"{name}.done"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.is_file():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                build(folder)
                done.touch()
        return folder

    return folder_of


def wait_for(condition, seconds: float = 120):
    """Wait until ``condition()`` is true; returns what it returned."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited for {seconds} s in vain"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the PATH (Debian's package of that name)")
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def registered():
    """MSCN in VISSL's registries, and Classy Vision set to the CPU, on which the tests run."""
    from classy_vision.generic.distributed_util import set_cpu_device

    import mscn_plugin

    mscn_plugin.register()
    set_cpu_device()


@pytest.fixture
def script_signals():
    """The handlers of the signals that scripts heed are Python's own, and again what they were."""
    own = [signal.default_int_handler, *3 * [signal.SIG_DFL]]  # nohup and "&" let some be ignored
    before = [signal.signal(*pair) for pair in zip(SCRIPT_SIGNALS, own)]
    yield
    for pair in zip(SCRIPT_SIGNALS, before):
        signal.signal(*pair)


@pytest.fixture
def mscn(monkeypatch, script_signals):
    """Run a command of ``mscn`` by its name, in this process, which has its imports."""

    def run(command, *arguments):
        from mscn_plugin.cli import main

        monkeypatch.setattr(sys, "argv", ["mscn", *command.split(), *map(str, arguments)])
        main()

    return run


@pytest.fixture
def run_script(monkeypatch, script_signals):
    """Run a script of ``extra_scripts`` by its name, in this process."""

    def run(name, *arguments):
        script = str(Path(__file__).parents[1] / "extra_scripts" / name)
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(script, run_name="__main__")

    return run


@pytest.fixture(scope="session")
def image_folder(once) -> Path:
    """A folder with train/ (4 x 8 images) and val/ (4 x 3 images) of colored texture."""
    return once("images", write_images)


def write_images(root: Path) -> None:
    random = np.random.RandomState(0)
    for split, count in (("train", 8), ("val", 3)):
        for label in range(4):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = random.randint(0, 60, (64, 64, 3)) + 48 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")


def links_to(images: Path, number: int):
    """A function that makes a folder of so many links to each of the training images."""

    def link(root: Path) -> None:
        for source in images.rglob("*.png"):
            target = root / source.relative_to(images)
            target.parent.mkdir(parents=True, exist_ok=True)
            for index in range(number if "train" in target.parts else 1):
                os.link(source, target.with_name(f"{index}_{target.name}"))

    return link


@pytest.fixture(scope="session")
def batch_folder(image_folder, once) -> Path:
    """A folder with 512 images, four batches of a process: links to those of `image_folder`.

    Each composition lists them several times, so that more of them would cost each test.
    """
    return once("batches", links_to(image_folder, 16))


@pytest.fixture(scope="session")
def large_folder(image_folder, once) -> Path:
    """A folder with as many images as the paper's batch has."""
    return once("many", links_to(image_folder, 128))


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
    "config.MSCN.PICTURE_IMAGES=0",
)
"""Overrides that make of mscn/quickstart a run of seconds."""
PICTURE = "config.MSCN.PICTURE_IMAGES=4"
"""What such a run needs beside them to write masked_views.png."""


BYOL_HEADS = (
    "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[null,24,8],use_bn:true,use_relu:true}],"
    "[mlp,{dims:[8,24,8],use_bn:true,use_relu:true}]]"
)
"""Projector and predictor of a BYOL run of seconds."""


@pytest.fixture
def tiny(image_folder):
    """The overrides of a run of seconds on :func:`image_folder`."""
    return (f"config.MSCN.DATA={image_folder}", "config.CHECKPOINT.DIR=run", *TINY)


def run_python(*arguments, cwd=None, check: bool = True, env=None, timeout: float = 600):
    """Run ``python`` with these arguments; fails with what it printed if ``check`` and it fails."""
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**tool_environment(), **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if check and result.returncode:
        pytest.fail(f"exit {result.returncode}\n{result.stdout[-3000:]}\n{result.stderr[-5000:]}")
    return result


def run_command(command: str, *arguments, **options):
    """Run a command of ``mscn`` by its name, as a process; for options: `run_python`."""
    started = ("-W", "ignore", "-m", "mscn_plugin.cli", *command.split())
    return run_python(*started, *arguments, **{"check": False, **options})


@pytest.fixture
def run_tool(tmp_path):
    """Run VISSL's own, unmodified launching tool in an empty folder."""

    def run(*overrides: str, by_path: bool = False, cwd: Path = tmp_path, check: bool = True):
        return run_python(*tool(by_path), *overrides, cwd=cwd, check=check)

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
def pretrain(python, once):
    """Pre-train by VISSL's own launching tool, once for all of pytest's workers."""

    def run(name: str, *overrides: str) -> Path:
        def build(folder: Path) -> None:
            subprocess.run(
                [python, *tool(), *overrides, "config.CHECKPOINT.DIR=run"],
                cwd=folder,
                env=tool_environment(),
                check=True,
                timeout=600,
            )

        return once(name, build) / "run"

    return run


@pytest.fixture(scope="session")
def checkpoints(image_folder, pretrain):
    """Folders of a SimCLR and a BYOL run of seconds, by the loss's first word."""
    common = (*TINY, PICTURE, f"config.MSCN.DATA={image_folder}")
    common += ("config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",)
    return {
        "simclr": pretrain("run_of_simclr", "config=mscn/quickstart", *common),
        "byol": pretrain("run_of_byol", "config=mscn/byol_quickstart", *common, BYOL_HEADS),
    }


def with_statistics(trunk):
    """The trunk itself, its running statistics no longer those of a fresh one."""
    for name, buffer in trunk.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.2)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return trunk
