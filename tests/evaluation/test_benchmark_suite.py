"""The shipped suite files in VISSL's own, unmodified benchmark-suite scheduler."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest
from slurm_cluster import free_ports

from mscn_plugin.config.folder import config_folder

SUITES = sorted((config_folder() / "benchmark_suite").glob("*.json"))
PLACES = {"<partition>": "any"}


def load(path, **places):
    text = path.read_text()
    for name, value in {**PLACES, **places}.items():
        text = text.replace(name, str(value))
    return json.loads(text)


@pytest.mark.parametrize("path", SUITES, ids=[path.stem for path in SUITES])
def test_every_suite_is_one_that_the_scheduler_and_its_tool_take(registered, path):
    from vissl.utils.benchmark_suite_scheduler import BenchmarkSuiteScheduler

    suite = load(path)
    BenchmarkSuiteScheduler(**suite["params"])
    for benchmark in suite["params"]["benchmarks"]:
        config = benchmark["config_files"][0].partition("=")[2]
        assert (config_folder() / "config" / f"{config}.yaml").is_file()
        assert config.endswith(benchmark["evaluation_name"])
    # What VISSL's tool asks of slurm_options.
    keys = (
        "NAME COMMENT PARTITION CONSTRAINT TIMEOUT_MIN CPUS_PER_TASK MEM_GB ADDITIONAL_PARAMETERS"
    )
    assert suite["slurm_options"].keys() == set(keys.split())


@pytest.mark.slurm
@pytest.mark.process
def test_the_scheduler_evaluates_a_finished_run(
    registered, checkpoints, image_folder, tmp_path, monkeypatch
):
    """Jobs go through submitit, results come back by VISSL's own collection."""
    import shutil

    import yaml
    from vissl.utils import benchmark_suite_scheduler as module

    run = shutil.copytree(checkpoints["simclr"], tmp_path / "run", symlinks=True)
    config = yaml.safe_load((run / "train_config.yaml").read_text())
    config["CHECKPOINT"]["DIR"] = str(run)
    (run / "train_config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    # It looks at the jobs every 15 seconds, and trusts SLURM's word only after 10 more.
    hurried = SimpleNamespace(time=time.time, sleep=lambda seconds: time.sleep(seconds / 100))
    monkeypatch.setattr(module, "time", hurried)
    suite = load(config_folder() / "benchmark_suite" / "quick.json", **{"<run>": run})
    suite["params"]["pytorch_ports"] = free_ports(3)  # VISSL's own may be anybody's
    for benchmark in suite["params"]["benchmarks"]:
        benchmark["config_files"] += [
            f"config.MSCN.DATA={image_folder}",
            "config.MODEL.TRUNK.SMALL_RESNET.WIDTH=4",
            "config.DATA.NUM_DATALOADER_WORKERS=0",
            "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=4",
            "config.OPTIMIZER.num_epochs=2",
        ]
    module.BenchmarkSuiteScheduler(**suite["params"]).evaluate()
    collected = json.loads((run / "evaluations" / "evaluation_metrics.json").read_text())
    (results,) = collected.values()
    metrics = {result["evaluation_name"]: result["metrics"] for result in results}
    assert "test_frozen_features_knn_top_1_res5avg" in metrics["quick_frozen"]
    for name, key in (("quick_linear", "res5avg"), ("quick_10percent", "0")):
        assert 0 <= metrics[name][f"test_accuracy_list_meter_top_1_{key}"]["metric"] <= 100
