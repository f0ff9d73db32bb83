"""Every method and every trunk trains through VISSL's launcher, in one process and in two."""

from __future__ import annotations

import pytest
import torch

from mscn_plugin.integration.config_folder import config_folder

pytestmark = pytest.mark.slow

MODELS = sorted(
    path.stem for path in (config_folder() / "config" / "mscn" / "models").glob("*.yaml")
)

SMALL_CROPS = (
    "config.DATA.TRAIN.TRANSFORMS=[{name:ImgReplicatePil,num_times:2},"
    "{name:RandomResizedCrop,size:32},{name:ToTensor},{name:MSCNHighPass,sigma:1.25}]"
)


@pytest.fixture(params=[1, 2])
def train(request, run_tool, image_folder, tmp_path):
    """Train two iterations in as many processes as the parameter says; returns the checkpoint."""

    def run(*overrides: str):
        run_tool(
            *overrides,
            "+config/mscn/machine=cpu",
            f"config.MSCN.DATA={image_folder}",
            "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
            "config.MSCN.PICTURE_IMAGES=0",
            "config.DATA.NUM_DATALOADER_WORKERS=0",
            "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=2",
            f"config.DATA.TRAIN.DATA_LIMIT={4 * request.param}",
            "config.OPTIMIZER.num_epochs=1",
            "config.OPTIMIZER.param_schedulers.lr.warmup_epochs=0",
            f"config.DISTRIBUTED.NUM_PROC_PER_NODE={request.param}",
            "config.CHECKPOINT.DIR=run",
        )
        return torch.load(tmp_path / "run" / "checkpoint.torch", weights_only=True)

    return run


@pytest.mark.parametrize("page", ["byol", "byol_unmasked", "barlow_twins", "moco"])
def test_methods_train_as_their_pages_say(train, page):
    checkpoint = train(f"config=mscn/{page}")
    assert checkpoint["iteration"] == 2
    second = {"byol": "target", "byol_unmasked": "target", "moco": "moco_encoder"}.get(page)
    assert any(name.startswith(f"{second}.trunk") for name in checkpoint["loss"]) == bool(second)


@pytest.mark.parametrize("model", MODELS)
def test_trunks_train(train, model):
    checkpoint = train("config=mscn/simclr", f"+config/mscn/models={model}", SMALL_CROPS)
    assert checkpoint["iteration"] == 2


def test_moco_builds_its_second_model_of_a_trunk_that_eats_its_configuration(train):
    checkpoint = train("config=mscn/moco", "+config/mscn/models=efficientnet_b0", SMALL_CROPS)
    assert "moco_encoder.trunk._feature_blocks.conv1.0.weight" in checkpoint["loss"]
