"""Every method and every trunk: whole on the meta device, narrow through VISSL's launcher."""

from __future__ import annotations

import pytest
import torch

from mscn_plugin.config.folder import config_folder

MODELS = sorted(
    path.stem for path in (config_folder() / "config" / "mscn" / "models").glob("*.yaml")
)
SIZES = {  # parameters in millions, features: what the overlays say of themselves
    "efficientnet_b0": (4.0, 1280),
    "regnet16gf": (81, 3024),
    "regnet400mf": (3.9, 440),
    "resnet50_w2": (94, 4096),
    "resnext101": (87, 2048),
    "resnext50": (23, 2048),
    "small_resnet10": (4.9, 512),
    "small_resnet18": (11, 512),
    "small_resnet34": (21, 512),
    "timm_convnext_tiny": (28, 768),
    "timm_convnextv2_tiny": (28, 768),
    "timm_efficientnetv2_s": (20, 1280),
    "timm_nfnet_l0": (33, 2304),
    "timm_regnetz_040": (27, 528),
    "timm_resnet50d": (24, 2048),
}
NARROW = {
    "resnet": ["config.MODEL.TRUNK.RESNETS.WIDTH_PER_GROUP=4"],
    "resnet50_w2": [
        "config.MODEL.TRUNK.RESNETS.WIDTH_MULTIPLIER=2",
        "config.MODEL.TRUNK.RESNETS.WIDTH_PER_GROUP=4",
    ],
    "resnext": [
        "config.MODEL.TRUNK.RESNETS.GROUPS=4",
        "config.MODEL.TRUNK.RESNETS.WIDTH_PER_GROUP=4",
    ],
    "regnet": [
        "~config.MODEL.TRUNK.REGNET.name",
        *(
            f"+config.MODEL.TRUNK.REGNET.{key}={value}"
            for key, value in {
                "depth": 4,
                "w_0": 8,
                "w_a": 8.0,
                "w_m": 2.0,
                "group_width": 8,
            }.items()
        ),
    ],
    "small_resnet": ["config.MODEL.TRUNK.SMALL_RESNET.WIDTH=8"],
    "efficientnet": [],  # has no narrower one
}
"""Overrides that keep a trunk's kind and take its width, by the trunk or by the overlay."""

CROPS = (
    "config.DATA.TRAIN.TRANSFORMS=[{name:ImgReplicatePil,num_times:2},"
    "{name:RandomResizedCrop,size:32},{name:ToTensor},{name:MSCNHighPass,sigma:1.25}]"
)


@pytest.fixture
def train(run_tool, image_folder, tmp_path):
    """Train two iterations on 32 px in so many processes; returns the checkpoint."""

    def run(processes: int, *overrides: str):
        run_tool(
            *overrides,
            CROPS,
            "+config/mscn/machine=cpu",
            f"config.MSCN.DATA={image_folder}",
            "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
            "config.MSCN.PICTURE_IMAGES=0",
            "config.DATA.NUM_DATALOADER_WORKERS=0",
            "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=2",
            f"config.DATA.TRAIN.DATA_LIMIT={4 * processes}",
            "config.OPTIMIZER.num_epochs=1",
            "config.OPTIMIZER.param_schedulers.lr.warmup_epochs=0",
            f"config.DISTRIBUTED.NUM_PROC_PER_NODE={processes}",
            "config.CHECKPOINT.DIR=run",
        )
        return torch.load(tmp_path / "run" / "checkpoint.torch", weights_only=True)

    return run


def heads(*dims: str) -> str:
    """The config's heads, narrow."""
    return f"config.MODEL.HEAD.PARAMS=[{','.join(f'[mlp,{{dims:{d}}}]' for d in dims)}]"


def prototypes(dims: str) -> str:
    """The head of SwAV and DINO, narrow."""
    return f"config.MODEL.HEAD.PARAMS=[[swav_head,{{dims:{dims},use_bn:True,num_clusters:[8]}}]]"


METHODS = {  # the second model of a checkpoint's loss, and the config's heads
    "byol": ("target", heads("[null,32,16]", "[16,32,16]")),
    "barlow_twins": (None, heads("[null,32,16]")),
    "vicreg": (None, heads("[null,32,16]")),
    "moco": ("moco_encoder", heads("[null,32]", "[32,16]")),
    "simsiam": ("target", heads("[null,32,16]", "[16,16]", "[16,8,16]")),
    "swav": (None, prototypes("[null,32,16]")),
    "dino": ("momentum_teacher", prototypes("[null,32,16]")),
}
EMBEDDING = {
    "barlow_twins": ["config.LOSS.barlow_twins_loss.embedding_dim=16"],
    "moco": ["config.LOSS.moco_loss.embedding_dim=16", "config.LOSS.moco_loss.queue_size=64"],
}


def assert_second_model(loss, method):
    second = METHODS[method][0]
    assert any(name.startswith(f"{second}.trunk") for name in loss) == bool(second)


@pytest.mark.process
@pytest.mark.parametrize(
    ("config", "model"),
    [
        ("byol", "regnet400mf"),
        ("barlow_twins", "resnext50"),
        ("vicreg", "resnet50_w2"),
        ("moco", "efficientnet_b0"),  # a trunk that eats the configuration which it is built of
        ("simclr", "small_resnet18"),
    ],
)
def test_methods_and_trunks_train_in_two_processes(train, config, model):
    """Every method whose loss gathers from all, on a trunk of each kind; they meet nowhere else."""
    checkpoint = train(
        2,
        f"config=mscn/{config}",
        f"+config/mscn/models={model}",
        *NARROW[kind_of(model)],
        METHODS[config][1] if config in METHODS else heads("[null,32,16]"),
        *EMBEDDING.get(config, ()),
    )
    assert checkpoint["iteration"] == 2
    if config in METHODS:
        assert_second_model(checkpoint["loss"], config)


@pytest.mark.process
def test_vissls_barlow_twins_trains_in_one_process(train):
    _, narrow = METHODS["barlow_twins"]
    checkpoint = train(
        1, "config=mscn/barlow_twins", narrow, *EMBEDDING["barlow_twins"], *NARROW["resnet"]
    )
    assert checkpoint["iteration"] == 2


@pytest.mark.process
def test_barlow_twins_takes_several_masks_by_a_loss_of_its_own(train):
    checkpoint = train(
        2,
        "config=mscn/barlow_twins",
        "config.LOSS.name=mscn_barlow_twins_loss",
        "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.num_masks=2",
        METHODS["barlow_twins"][1],
        *NARROW["resnet"],
    )
    assert checkpoint["iteration"] == 2


@pytest.mark.process
@pytest.mark.parametrize("method", ["simsiam", "swav", "dino", "vicreg"])
def test_quickstarts_of_other_methods_resume_as_if_unbroken(run_tool, tiny, tmp_path, method):
    overrides = [
        f"config=mscn/{method}_quickstart",
        *tiny,
        METHODS[method][1],
        "config.OPTIMIZER.num_epochs=2",
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
    ]
    final = tmp_path / "run" / "model_final_checkpoint_phase1.torch"

    def tensors():
        run_tool(*overrides)
        state = torch.load(final, weights_only=True)
        model = state["classy_state_dict"]["base_model"]["model"]
        assert_second_model(state["loss"], method)
        return {**model["trunk"], **model["heads"], **state["loss"]}

    unbroken = tensors()
    final.unlink()
    resumed = tensors()
    assert [k for k, value in unbroken.items() if not torch.equal(resumed[k], value)] == []


def kind_of(model: str) -> str:
    return next(kind for kind in ("resnet50_w2", *NARROW) if model.startswith(kind))


def timm_model(name: str, **kwargs) -> list[str]:
    """A narrow model of timm."""
    pytest.importorskip("timm")
    section = "config.MODEL.TRUNK.TIMM"
    settings = [f"+{section}.KWARGS.{key}={value}" for key, value in kwargs.items()]
    return [f"{section}.NAME={name}", *settings]


@pytest.mark.process
def test_a_convnext_trains_by_adamw_in_two_processes(train):
    narrow = timm_model("convnext_tiny", depths=[1, 1, 1, 1], dims=[8, 16, 24, 32])
    checkpoint = train(2, "config=mscn/convnext_tiny", *narrow, heads("[null,32,16]"))
    assert checkpoint["iteration"] == 2
    state = checkpoint["classy_state_dict"]["optimizer"]["optim"]["state"]
    assert all("exp_avg" in parameter for parameter in state.values())


@pytest.mark.process
def test_byol_trains_an_nfnet(train):
    """No batch normalization, and gains that no list of VISSL's has."""
    narrow = timm_model(
        "dm_nfnet_f0",
        depths=[1, 1, 1, 1],
        channels=[32, 32, 64, 64],
        group_size=16,
        stem_chs=16,
        num_features=64,
    )
    overlay = "+config/mscn/models=timm_nfnet_l0"
    checkpoint = train(1, "config=mscn/byol", overlay, *narrow, METHODS["byol"][1])
    model, loss = checkpoint["classy_state_dict"]["base_model"]["model"], checkpoint["loss"]
    gain = "_feature_blocks.stages.0.0.conv1.gain"
    assert not torch.equal(model["trunk"][gain], loss[f"target.trunk.{gain}"])
    assert not torch.equal(model["trunk"][gain], torch.ones_like(model["trunk"][gain]))


@pytest.mark.parametrize("model", MODELS)
def test_whole_trunks_have_the_size_that_they_say_and_take_the_papers_pictures(
    compose, batch_folder, monkeypatch, model
):
    """At full size, without memory or time: shapes alone, in forward and backward pass."""
    from vissl.models import build_model

    millions, features = SIZES[model]
    # The check at the start would ask the whole model for the same shapes.
    monkeypatch.setattr("mscn_plugin.config.checks.dry_run._model_outputs", lambda *_: [])
    config = compose(
        "config=mscn/simclr",
        "+config/mscn/machine=cpu",
        f"+config/mscn/models={model}",
        f"config.MSCN.DATA={batch_folder}",
    )
    assert config.MODEL.HEAD.PARAMS[0][1]["dims"][0] == features
    with torch.device("meta"):
        model = build_model(config.MODEL, config.OPTIMIZER)
        (embeddings,) = model(torch.randn(2, 3, 224, 224))
    embeddings.sum().backward()
    assert embeddings.shape == (2, 256)
    trunk = sum(parameter.numel() for parameter in model.trunk.parameters())
    assert trunk / 1e6 == pytest.approx(millions, rel=0.05)
    assert all(parameter.grad is not None for parameter in model.parameters())
