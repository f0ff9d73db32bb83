"""VISSL's own configurations still run with the plugin installed."""

from __future__ import annotations

import pytest

LARS = ("config.OPTIMIZER.name=lars", "config.OPTIMIZER.use_larc=False")  # apex is not on PyPI
SMALL = "config.DATA.TRAIN.TRANSFORMS.1.size=32"
NARROW = "config.MODEL.TRUNK.RESNETS.WIDTH_PER_GROUP=4"


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("test_cpu_resnet_simclr", (*LARS, NARROW)),
        ("test_cpu_regnet_simclr", LARS),
        ("test_cpu_regnet_moco", ()),
    ],
)
def test_vissls_cpu_tests(run_tool, tmp_path, name, overrides):
    run_tool(f"config=test/cpu_test/{name}", "config.CHECKPOINT.DIR=run", SMALL, *overrides)
    assert list((tmp_path / "run").glob("model_final_checkpoint_phase*.torch"))
    assert not (tmp_path / "run" / "masked_views.png").exists()


@pytest.mark.hydra
@pytest.mark.parametrize(
    ("config", "overlay"),
    [
        ("linear_image_classification/imagenet1k/eval_resnet_8gpu_transfer_in1k_linear", ""),
        ("semi_supervised/imagenet1k/eval_resnet_8gpu_transfer_in1k_semi_sup_fulltune", ""),
        ("linear_image_classification/voc07/eval_resnet_8gpu_transfer_voc07_svm", "_svm"),
        ("low_shot_transfer/voc07/eval_resnet_8gpu_transfer_voc07_low_shot_svm", "_low_shot"),
        ("nearest_neighbor/eval_resnet_8gpu_in1k_kNN", "_center_crop"),
    ],
)
def test_overlays_add_the_filter_to_vissls_benchmarks_and_nothing_else(registered, config, overlay):
    from omegaconf import OmegaConf
    from vissl.utils.hydra_config import compose_hydra_configuration

    plain, filtered = (
        OmegaConf.to_container(compose_hydra_configuration([f"config=benchmark/{config}", *more]))
        for more in ((), (f"+config/mscn/transforms=high_pass{overlay}",))
    )
    for split in ("TRAIN", "TEST"):
        last = filtered["config"]["DATA"][split]["TRANSFORMS"].pop()
        assert last == {"name": "MSCNHighPass", "sigma": 5.0}
    assert plain["config"] == filtered["config"]
