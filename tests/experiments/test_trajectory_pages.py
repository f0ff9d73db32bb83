"""The pages of Figure 1: what each changes, and that each trains."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import yaml
from conftest import tool_environment

from mscn_plugin.experiments.definitions import SUITES
from mscn_plugin.experiments.scales import SCALES, page_of
from mscn_plugin.integration.config_folder import config_folder

PAGES = sorted(path.stem for path in (config_folder() / "config/mscn/trajectory").glob("*.yaml"))


@pytest.fixture(scope="module")
def composed(registered):
    """The ``config`` part of a page, by its name below ``mscn``."""
    from omegaconf import OmegaConf
    from vissl.utils.hydra_config import compose_hydra_configuration

    def compose(page):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cfg = compose_hydra_configuration([f"config=mscn/{page}"])
        return OmegaConf.to_container(cfg.config)

    return compose


def leaves(section, path=()):
    for key, value in section.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def test_every_page_is_in_a_suite():
    used = {experiment.page for suite in SUITES.values() for experiment in suite}
    assert used == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_differs_from_its_parent_in_the_keys_that_it_names_and_in_all_of_them(composed, page):
    file = config_folder() / "config/mscn/trajectory" / f"{page}.yaml"
    text = yaml.safe_load(file.read_text())
    (parent,) = [entry for entry in text["defaults"] if entry != "_self_"]
    before = dict(leaves(composed(parent.replace("/config/mscn/", "", 1))))
    after = dict(leaves(composed(f"trajectory/{page}")))
    named = {path for path, _ in leaves(text["config"])}
    different = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert different <= named
    # A switch that changes nothing would say something that is not so.
    unchanged = named - different
    assert unchanged <= {("CHECKPOINT", "DIR")}


@pytest.mark.parametrize("page", PAGES)
def test_composes_and_passes_all_checks_at_the_papers_size(compose, large_folder, page):
    config = compose(
        f"config=mscn/trajectory/{page}",
        f"config.MSCN.DATA={large_folder}",
        "+config/mscn/machine=cpu",
    )
    filtered = any(t["name"] == "MSCNHighPass" for t in config.DATA.TRAIN.TRANSFORMS)
    assert filtered == any(t["name"] == "MSCNHighPass" for t in config.DATA.TEST.TRANSFORMS)
    assert filtered == (
        page
        not in (
            "01_mask_only",
            "baseline_crop_only",
            "baseline_naive_mask",
            "baseline_standard",
            "control_no_filter",
        )
    )


def test_the_tenth_step_is_the_ablations_base(composed):
    step, base = composed("trajectory/10_multimask"), composed("simclr_100ep")
    base["CHECKPOINT"]["DIR"] = step["CHECKPOINT"]["DIR"]
    assert step == base


RUN_ALL = """
import sys
import torch.distributed
from tools.run_distributed_engines import hydra_main
for line in sys.stdin.read().splitlines():
    hydra_main(line.split())
    torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_every_experiment_trains_two_iterations_through_the_launcher(
    composed, image_folder, tmp_path
):
    experiments = {e.name: e for suite in SUITES.values() for e in suite}
    lines = []
    for name, experiment in experiments.items():
        config = composed(f"trajectory/{experiment.page}")
        lines.append(
            " ".join(
                [
                    f"config={page_of(experiment)}",
                    *SCALES["smoke"].overrides(experiment, config, seed=0),
                    f"config.MSCN.DATA={image_folder}",
                    "config.MSCN.TRAIN_SUBSET=1.0",
                    "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=16",
                    "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
                    f"config.CHECKPOINT.DIR={tmp_path / name}",
                ]
            )
        )
    result = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input="\n".join(lines),
        cwd=tmp_path,
        env=tool_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    for name in experiments:
        assert (tmp_path / name / "model_final_checkpoint_phase0.torch").is_file(), name
        assert "Total 2 iterations for training" in (tmp_path / name / "log.txt").read_text()
