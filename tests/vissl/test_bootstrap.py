"""MSCN inside VISSL's tools: search path, registries, worker processes, SLURM jobs.

Many start new interpreters: what is there without imports is what they are about.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import NEW_INTERPRETER, PICTURE, run_python

import mscn_plugin


def python(code: str, cwd: Path):
    return run_python("-c", code, cwd=cwd)


@pytest.mark.new_interpreter
def test_an_unrelated_hydra_application_stays_light(tmp_path):
    code = """
import sys
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
open("app.yaml", "w").write("a: 1")
import os
with initialize_config_dir(config_dir=os.getcwd(), version_base=None):
    print(compose("app", return_hydra_config=True).hydra.runtime.config_sources)
heavy = {"torch", "vissl", "mscn_plugin"} & {name.split(".")[0] for name in sys.modules}
assert not heavy, heavy
"""
    assert "mscn" not in python(code, tmp_path).stdout


@pytest.mark.new_interpreter
def test_importing_the_package_imports_neither_torch_nor_vissl(tmp_path):
    python("import mscn_plugin, sys; assert not {'torch', 'vissl'} & set(sys.modules)", tmp_path)


@pytest.mark.new_interpreter
def test_composing_registers_and_imports_nothing_heavy_beside_what_vissls_launcher_imports(
    tmp_path,
):
    code = """
import collections, sys, tools.run_distributed_engines, vissl.engines.train, vissl.hooks
from vissl.utils.hydra_config import compose_hydra_configuration
collections.MutableMapping  # as VISSL's benchmark-suite scheduler needs it when it is restarted
before = set(sys.modules)
compose_hydra_configuration(["config=mscn/quickstart"])
from vissl.data.collators import COLLATOR_REGISTRY
assert "mscn_multimask_collator" in COLLATOR_REGISTRY
added = {name.split(".")[0] for name in set(sys.modules) - before}
assert not added & {"cv2", "scipy", "skimage", "sklearn", "matplotlib", "pandas"}, added
"""
    python(code, tmp_path)


def test_register_is_idempotent_and_fills_every_registry(registered):
    from classy_vision.losses import LOSS_REGISTRY
    from classy_vision.optim.param_scheduler import PARAM_SCHEDULER_REGISTRY
    from classy_vision.tasks import TASK_REGISTRY
    from vissl.data.collators import COLLATOR_REGISTRY
    from vissl.models.trunks import MODEL_TRUNKS_REGISTRY
    from vissl.utils import distributed_launcher, hydra_config

    before = (distributed_launcher._distributed_worker, hydra_config.infer_and_assert_hydra_config)
    mscn_plugin.register()
    after = (distributed_launcher._distributed_worker, hydra_config.infer_and_assert_hydra_config)
    assert before == after
    assert "mscn_multimask_collator" in COLLATOR_REGISTRY
    assert "mscn_info_nce_loss" in LOSS_REGISTRY
    assert "mscn_warmup_cosine" in PARAM_SCHEDULER_REGISTRY
    assert "mscn_task" in TASK_REGISTRY
    assert "small_resnet" in MODEL_TRUNKS_REGISTRY


@pytest.mark.process
def test_a_launcher_without_the_hooked_names_is_refused(tmp_path):
    code = """
from vissl.utils import distributed_launcher
del distributed_launcher._ResumableSlurmJob
import mscn_plugin
mscn_plugin.register()
"""
    result = run_python("-c", code, "config=mscn/quickstart", cwd=tmp_path, check=False)
    assert result.returncode
    assert "distributed_launcher._ResumableSlurmJob is missing, where VISSL" in result.stderr


def test_a_users_own_configs_folder_wins(compose, tmp_path, batch_folder):
    folder = tmp_path / "configs" / "config" / "mscn"
    folder.mkdir(parents=True)
    from mscn_plugin.config.folder import config_folder

    packaged = config_folder() / "config" / "mscn" / "quickstart.yaml"
    mine = yaml.safe_load(packaged.read_text())
    mine["config"]["SEED_VALUE"] = 77
    (folder / "quickstart.yaml").write_text("# @package _global_\n" + yaml.safe_dump(mine))
    (tmp_path / "tools").mkdir()  # as in a VISSL checkout
    data = f"config.MSCN.DATA={batch_folder}"
    assert compose("config=mscn/quickstart", data).SEED_VALUE == 77
    assert compose("config=mscn/simclr", "+config/mscn/machine=cpu", data)


@pytest.mark.parametrize(
    ("processes", "by_path"),
    [
        (1, True),
        (2, False),  # of new interpreters there is one below
    ],
)
def test_vissls_tool_trains_from_an_empty_folder(run_tool, tiny, tmp_path, processes, by_path):
    run_tool(
        "config=mscn/quickstart",
        *tiny,
        PICTURE,
        f"config.DISTRIBUTED.NUM_PROC_PER_NODE={processes}",
        "config.DATA.NUM_DATALOADER_WORKERS=1",  # forked
        by_path=by_path,
    )
    run = tmp_path / "run"
    metrics = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    online = [line["online_evaluation"] for line in metrics if "online_evaluation" in line]
    assert len(online) == 2
    assert all(0 <= value <= 100 for values in online for value in values.values())
    assert (run / "masked_views.png").is_file()
    assert (
        not (run / "checkpoint.torch").readlink().is_absolute()
        or (run / "checkpoint.torch").resolve().is_file()
    )
    checkpoint = torch.load(run / "checkpoint.torch", weights_only=True)
    assert checkpoint["iteration"] == 32 // (8 * processes)
    assert list((run / "tb_logs").iterdir())


SPAWNED = """
import runpy, torch.multiprocessing
from vissl.utils import distributed_launcher
import mscn_plugin
mscn_plugin.register()
worker = distributed_launcher._distributed_worker

def spawned(local_rank, cfg, **more):  # as VISSL starts the ranks where there are several
    torch.multiprocessing.start_processes(worker, (cfg, *more.values()), start_method="spawn")

distributed_launcher._distributed_worker = spawned
runpy.run_module("tools.run_distributed_engines", run_name="__main__", alter_sys=True)
"""


@pytest.mark.process
def test_spawned_ranks_and_loader_workers_register_mscn_by_themselves(tiny, tmp_path):
    """Both are new interpreters, whatever the tool is; and no import warns there."""
    result = run_python(
        *("-c", SPAWNED, "config=mscn/quickstart", *tiny),
        "config.MULTI_PROCESSING_METHOD=forkserver",
        "config.DATA.NUM_DATALOADER_WORKERS=1",
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        cwd=tmp_path,
    )
    assert not re.findall(r"\w+Warning:", result.stderr)
    checkpoint = torch.load(tmp_path / "run" / "checkpoint.torch", weights_only=True)
    assert checkpoint["iteration"] == 4


@pytest.mark.slurm
@pytest.mark.process
def test_a_preempted_slurm_job_writes_a_checkpoint_and_goes_on_when_requeued(tiny, tmp_path):
    """The job is a new interpreter, which registers MSCN by itself, as its successor does."""
    once_new = tmp_path / "python"
    once_new.write_text(
        f"#!/bin/sh\nmkdir {tmp_path}/job && exec {NEW_INTERPRETER} $@\nexec {sys.executable} $@\n"
    )
    once_new.chmod(0o755)
    code = """
import sys, time
from pathlib import Path
from vissl.utils.hydra_config import compose_hydra_configuration, convert_to_attrdict
from vissl.utils.distributed_launcher import launch_distributed_on_slurm
sys.executable = sys.argv[1]
args, config = convert_to_attrdict(compose_hydra_configuration(sys.argv[2:]))
job = launch_distributed_on_slurm(cfg=config, engine_name=args.engine_name)
while not Path("run/model_phase0.torch").is_file():
    time.sleep(0.01)
job._interrupt(timeout=True)  # as SLURM does before it preempts
job.result()
from mscn_plugin.vissl.launcher import ResumableSlurmJob
resubmitted = ResumableSlurmJob("train", config).checkpoint()
assert type(resubmitted.function) is ResumableSlurmJob
"""
    overrides = [
        *("config=mscn/quickstart", *tiny),
        "config.OPTIMIZER.num_epochs=6",
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        "config.SLURM.USE_SLURM=true",
        "config.SLURM.PARTITION=any",
        "config.SLURM.LOG_FOLDER=log",
    ]
    run_python("-c", code, once_new, *overrides, cwd=tmp_path)
    output, errors = (
        "".join(path.read_text() for path in (tmp_path / "log").glob(f"*_log.{end}"))
        for end in ("out", "err")
    )
    assert errors.count("mscn-plugin: ended on request") == 1
    assert "Requeued job" in output
    assert "Resume from file" in output
    assert (tmp_path / "run" / "model_final_checkpoint_phase5.torch").is_file()
