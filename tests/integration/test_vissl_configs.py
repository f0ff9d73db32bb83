"""VISSL's own configurations still run with the plugin installed."""

from __future__ import annotations

import pytest

LARS = ("config.OPTIMIZER.name=lars", "config.OPTIMIZER.use_larc=False")  # apex is not on PyPI


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("test_cpu_resnet_simclr", LARS),
        ("test_cpu_regnet_simclr", LARS),
        ("test_cpu_regnet_moco", ()),
    ],
)
def test_vissls_cpu_tests(run_tool, tmp_path, name, overrides):
    run_tool(f"config=test/cpu_test/{name}", "config.CHECKPOINT.DIR=run", *overrides)
    assert list((tmp_path / "run").glob("model_final_checkpoint_phase*.torch"))
    assert not (tmp_path / "run" / "masked_views.png").exists()
