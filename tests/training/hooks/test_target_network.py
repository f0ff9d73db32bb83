"""BYOL through VISSL's launcher, against a loop in plain PyTorch without VISSL and MSCN."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch
from conftest import BYOL_HEADS, run_python, tool_environment
from PIL import ImageOps
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler
from torchvision import datasets, transforms
from torchvision.models.resnet import BasicBlock, ResNet

WIDTH, RATE, TAU, BATCH, EPOCHS = 4, 0.01, 0.9, 8, 2
STEPS = 4 * EPOCHS
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

FLIP = "{name: ImgPilMultiCropRandomApply, transforms: [{name: RandomHorizontalFlip, p: 1.0}]"
TRANSFORMS = (
    "[{name: ImgReplicatePil, num_times: 2}, {name: CenterCrop, size: 32}, "
    f"{FLIP}, prob: [0.0, 1.0]}}, {{name: ToTensor}}, "
    f"{{name: Normalize, mean: {MEAN}, std: {STD}}}]"
).replace(" ", "")
"""Two different views of an image without any chance in them."""


def overrides(image_folder, processes=1):
    lr = "config.OPTIMIZER.param_schedulers.lr"
    return [
        "config=mscn/byol_quickstart",
        f"config.MSCN.DATA={image_folder}",
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        "config.DATA.NUM_DATALOADER_WORKERS=0",
        f"config.DATA.TRAIN.BATCHSIZE_PER_REPLICA={BATCH // processes}",
        f"config.DATA.TRAIN.TRANSFORMS={TRANSFORMS}",
        "config.DATA.TRAIN.COLLATE_FUNCTION=multicrop_collator",
        "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS=null",
        f"config.MODEL.TRUNK.SMALL_RESNET={{DEPTH:10,WIDTH:{WIDTH},STEM_STRIDE:2,STEM_POOL:false}}",
        BYOL_HEADS,
        f"config.LOSS.byol_loss.target_momentum={TAU}",
        f"config.OPTIMIZER.num_epochs={EPOCHS}",
        "config.OPTIMIZER.name=sgd",
        "config.OPTIMIZER.weight_decay=0",
        f"{lr}.name=cosine",
        f"{lr}.auto_lr_scaling.auto_scale=False",
        f"{lr}.start_value={RATE}",
        f"config.DISTRIBUTED.NUM_PROC_PER_NODE={processes}",
        "config.LOG_FREQUENCY=1",
        "config.CHECKPOINT.DIR=run",
    ]


class Reference(nn.Module):
    """BYOL as its paper tells it."""

    def __init__(self):
        super().__init__()
        resnet = ResNet(BasicBlock, [1, 1, 1, 1])
        resnet.inplanes = WIDTH
        layers = OrderedDict(
            conv1=nn.Conv2d(3, WIDTH, 3, stride=2, padding=1, bias=False),
            bn1=nn.BatchNorm2d(WIDTH),
            relu=nn.ReLU(),
        )
        for stage in range(4):
            stride = 1 if stage == 0 else 2
            layers[f"layer{stage + 1}"] = resnet._make_layer(
                BasicBlock, WIDTH * 2**stage, 1, stride=stride
            )
        layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        self.trunk = nn.Sequential(layers)
        self.projector = self.mlp(8 * WIDTH)
        self.predictor = self.mlp(8)

    @staticmethod
    def mlp(size):
        return nn.Sequential(nn.Linear(size, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 8))

    def project(self, images):
        return self.projector(self.trunk(images))

    def vissl_state(self):
        trunk = {f"_feature_blocks.{k}": v for k, v in self.trunk.state_dict().items()}
        heads = {f"0.clf.{k}": v for k, v in self.projector.state_dict().items()}
        heads.update({f"1.clf.{k}": v for k, v in self.predictor.state_dict().items()})
        return {"trunk": trunk, "heads": heads}


def views_of(image):
    crop = transforms.CenterCrop(32)
    tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    return tensor(crop(image)), tensor(ImageOps.mirror(crop(image)))


def train_reference(model, image_folder, processes):
    """Train ``model``; returns its target. Ranks are a loop: the first one's statistics stay.

    The operations follow one another as in the package: batch normalization of 8 views enlarges
    what rounds differently by a thousand in 8 steps, which would hide an error of that size.
    """
    target = Reference()
    target.load_state_dict(model.state_dict())
    images = datasets.ImageFolder(str(image_folder / "train"), transform=views_of)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    step = 0
    for epoch in range(EPOCHS):
        loaders = []
        for rank in range(processes):
            sampler = DistributedSampler(images, processes, rank)
            sampler.set_epoch(epoch)
            loaders.append(DataLoader(images, BATCH // processes, sampler=sampler))
        for batches in zip(*loaders):
            optimizer.zero_grad()
            buffers = None
            for views, _ in batches:
                p = [F.normalize(model.predictor(model.project(view)), dim=1) for view in views]
                with torch.no_grad():
                    z = [F.normalize(target.project(view), dim=1) for view in views]
                cosines = [(p[b] * z[1 - b]).sum(dim=1) for b in (0, 1)]
                ((4 - 2 * (cosines[0] + cosines[1])).mean() / processes).backward()
                everything = [*model.buffers(), *target.buffers()]
                if buffers is None:
                    buffers = [b.clone() for b in everything]
                for buffer, kept in zip(everything, buffers):
                    buffer.data.copy_(kept)
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 + math.cos(math.pi * step / STEPS)) / 2
            optimizer.step()
            tau = 1 - (1 - TAU) * (math.cos(math.pi * step / (STEPS - 1)) + 1) / 2
            with torch.no_grad():
                for moved, online in zip(target.parameters(), model.parameters()):
                    moved.lerp_(online, 1 - tau)
            step += 1
    assert step == STEPS
    return target


@pytest.mark.process
@pytest.mark.parametrize("processes", [1, 2])
def test_equals_a_plain_loop(run_tool, image_folder, tmp_path, processes):
    model = Reference()
    initial = {"classy_state_dict": {"base_model": {"model": model.vissl_state()}}}
    torch.save(initial, tmp_path / "initial.torch")
    run_tool(
        *overrides(image_folder, processes),
        "config.MODEL.WEIGHTS_INIT.PARAMS_FILE=initial.torch",
        "config.MODEL.WEIGHTS_INIT.STATE_DICT_KEY_NAME=classy_state_dict",
    )
    checkpoint = torch.load(tmp_path / "run" / "checkpoint.torch", weights_only=True)
    assert checkpoint["iteration"] == STEPS

    start = {name: tensor.clone() for name, tensor in model.vissl_state()["trunk"].items()}
    target = train_reference(model, image_folder, processes)
    online = checkpoint["classy_state_dict"]["base_model"]["model"]
    for part, expected in model.vissl_state().items():
        assert online[part].keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(online[part][name], expected[name], atol=1e-6, rtol=1e-6)
    loss = checkpoint["loss"]
    expected = {
        f"target.{part}.{name}": tensor
        for part, tensors in target.vissl_state().items()
        for name, tensor in tensors.items()
        if not name.startswith("1.")
    }
    assert loss.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(loss[name], expected[name], atol=1e-6, rtol=1e-6)
    log = (tmp_path / "run" / "log.txt").read_text()
    taus = [float(tau) for tau in re.findall(r"target momentum: (\S+)", log)]
    assert taus[0] == TAU
    assert taus[-1] == 1.0

    # Neither stands still, so that the comparison means something.
    moved = "_feature_blocks.layer4.0.conv1.weight"
    assert (loss[f"target.trunk.{moved}"] - start[moved]).abs().max() > 1e-3
    assert (online["trunk"][moved] - loss[f"target.trunk.{moved}"]).abs().max() > 1e-3

    # The optimizer has one momentum buffer for each online parameter, and no more.
    optimizer = checkpoint["classy_state_dict"]["optimizer"]["optim"]["state"]
    shapes = sorted(tuple(state["momentum_buffer"].shape) for state in optimizer.values())
    assert shapes == sorted(tuple(parameter.shape) for parameter in model.parameters())


@pytest.mark.process
def test_stopped_in_mid_epoch_and_resumed(run_tool, image_folder, tmp_path):
    """Killed in step 7 of 8, with the newest checkpoint at 6, in the middle of the second epoch."""
    arguments = [
        *overrides(image_folder),
        "config.DATA.TRAIN.USE_STATEFUL_DISTRIBUTED_SAMPLER=True",
        "config.CHECKPOINT.CHECKPOINT_ITER_FREQUENCY=3",
    ]
    run_tool(*arguments, "config.CHECKPOINT.DIR=unbroken")
    killing = (
        "import os, signal, torch, runpy\n"
        "calls, step = [], torch.optim.Optimizer.zero_grad\n"
        "def zero_grad(*a, **k):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    step(*a, **k)\n"
        "torch.optim.Optimizer.zero_grad = zero_grad\n"
        "runpy.run_module('tools.run_distributed_engines', run_name='__main__', alter_sys=True)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", killing, *arguments],
        cwd=tmp_path,
        env=tool_environment(),
        capture_output=True,
    )
    assert killed.returncode == -9
    run = tmp_path / "run"
    assert (run / "model_iteration6.torch").is_file()
    assert not (run / "model_final_checkpoint_phase1.torch").exists()
    run_tool(*arguments)

    unbroken, resumed = (
        torch.load(tmp_path / name / "model_final_checkpoint_phase1.torch", weights_only=True)
        for name in ("unbroken", "run")
    )
    assert resumed["iteration"] == STEPS
    states = [
        {
            **c["loss"],
            **flat(c["classy_state_dict"]["base_model"], "model"),
            **flat(c["classy_state_dict"]["optimizer"], "optimizer"),
        }
        for c in (unbroken, resumed)
    ]
    assert states[0].keys() == states[1].keys()
    assert sum(name.startswith("target.") for name in states[0]) > 40
    for name, value in states[0].items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(states[1][name])), name
    rates = [
        {line["iter"]: line["lr"] for line in map(json.loads, text.splitlines()) if "lr" in line}
        for text in ((tmp_path / d / "stdout.json").read_text() for d in ("unbroken", "run"))
    ]
    # Those before the checkpoint were written with it, though the run was killed.
    assert rates[1] == rates[0]


@pytest.mark.process
@pytest.mark.parametrize("device_views", [True, False])
def test_the_target_may_see_unmasked_views(run_tool, tiny, tmp_path, device_views):
    run_tool(
        "config=mscn/byol_quickstart",
        *tiny,
        BYOL_HEADS,
        f"config.MSCN.DEVICE_VIEWS={device_views}",
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.num_masks=[1,3]",
        "config.LOSS.byol_loss.target_input=unmasked",
    )
    (line, *_) = (tmp_path / "run" / "embedding_statistics.json").read_text().splitlines()
    names = {"std", "dimensions", "positive_similarity", "negative_similarity"}
    assert set(json.loads(line)) == {"iteration", *names, *(f"prediction_{n}" for n in names)}


# The graph alone: what PyTorch generates of it is compared in tests/training/test_task.py.
GRAPH_ALONE = (
    "import functools, runpy, torch\n"
    "torch.compile = functools.partial(torch.compile, backend='eager')\n"
    "runpy.run_module('tools.run_distributed_engines', run_name='__main__', alter_sys=True)"
)


@pytest.mark.process
@pytest.mark.parametrize(
    ("processes", "switches"),
    [
        pytest.param(
            1,  # each would trace both networks, for seconds
            [
                "config.MSCN.COMPILE_TRUNK=True",
                "config.MSCN.CHANNELS_LAST=True",
                # PyTorch 2.14.1 corrupts memory for trunks of 4 channels on CPUs with AVX2.
                "config.MODEL.TRUNK.SMALL_RESNET.WIDTH=8",
                "config.MODEL.TRUNK.SMALL_RESNET.DEPTH=10",
            ],
            id="compiled",
        ),
        pytest.param(2, ["+config/mscn/memory=activation_checkpointing"], id="checkpointed"),
    ],
)
def test_switches_of_the_model_serve_the_target_too(tiny, tmp_path, processes, switches):
    run_python(
        "-c",
        GRAPH_ALONE,
        "config=mscn/byol_quickstart",
        *tiny,
        BYOL_HEADS,
        *switches,
        f"config.DISTRIBUTED.NUM_PROC_PER_NODE={processes}",
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        cwd=tmp_path,
    )
    checkpoint = torch.load(tmp_path / "run" / "checkpoint.torch", weights_only=True)
    trunk = checkpoint["classy_state_dict"]["base_model"]["model"]["trunk"]
    prefix = "target.trunk."
    target = {k[len(prefix) :] for k in checkpoint["loss"] if k.startswith(prefix)}
    assert target == set(trunk)
    assert "_feature_blocks.conv1.weight" in trunk
    assert checkpoint["iteration"] == 4 / processes


def test_the_target_drops_nothing(registered, monkeypatch):
    from types import SimpleNamespace

    from mscn_plugin.losses.byol import BYOLLoss
    from mscn_plugin.training.hooks import target_network

    monkeypatch.setattr(target_network, "branches_can_be_told_apart", lambda config: False)
    model = nn.Module()
    model.trunk, model.heads = nn.Dropout(0.5), nn.ModuleList([nn.Identity(), nn.Identity()])
    model.head_names = ["mlp", "mlp"]
    settings = SimpleNamespace(MSCN=SimpleNamespace(COMPILE_TRUNK=False))
    task = SimpleNamespace(loss=BYOLLoss(), base_model=model, config=settings)
    target_network.TargetNetworkHook().on_start(task)
    assert torch.equal(task.loss.target.trunk(torch.ones(99)), torch.ones(99))
    assert not torch.equal(model.trunk(torch.ones(99)), torch.ones(99))


BIASES = "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[null,24,8]}],[mlp,{dims:[8,24,8]}]]"


@pytest.mark.parametrize(
    ("overrides", "warns"),
    [
        ([], False),
        ([BIASES], False),
        (["config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.split_branches=False"], False),
        ([BIASES, "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.split_branches=False"], True),
        (
            [
                BIASES,
                "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.split_branches=False",
                "config.MODEL.BASE_MODEL_NAME=multi_input_output_model",
            ],
            True,
        ),
        (
            [
                BIASES,
                "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.split_branches=False",
                "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.focal_probability=0.4",
                "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.channelwise_probability=0.8",
                "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.noise_std=0.2",
            ],
            False,
        ),
    ],
)
def test_byol_warns_of_branches_that_it_can_tell_apart(compose, batch_folder, overrides, warns):
    from mscn_plugin.training.hooks.target_network import branches_can_be_told_apart

    data = f"config.MSCN.DATA={batch_folder}"
    config = compose("config=mscn/byol_quickstart", data, *overrides)
    assert branches_can_be_told_apart(config) == warns


@pytest.mark.parametrize(
    ("masks", "differ"),
    [
        ({"cell_size": [16, 32]}, False),
        ({"channel_groups": [[0, 1], [2]]}, False),
        ({"noise_std": [0.2, 0.2]}, False),
        ({"noise_std": [0.2, 0.3]}, True),
        ({"cell_size": [[16, 32], [32, 16]]}, True),
    ],
)
@pytest.mark.parametrize("biases", [True, False])
def test_branches_differ_by_their_masks_and_biases_of_chains_count(masks, differ, biases):
    from vissl.config import AttrDict

    from mscn_plugin.training.hooks.target_network import branches_can_be_told_apart

    head = ["mlp", {"dims": [8, 8], "use_bias": False}]
    chain = [head, ["mlp", {"dims": [8, 8], **({} if biases else {"use_bias": False})}]]
    train = {"COLLATE_FUNCTION_PARAMS": {"num_masks": 2, "split_branches": False, **masks}}
    model = {"BASE_MODEL_NAME": "mscn_branchwise_model", "HEAD": {"PARAMS": [head, chain]}}
    config = AttrDict({"DATA": {"TRAIN": train}, "MODEL": model})
    assert branches_can_be_told_apart(config) == (differ and biases)


def flat(state, prefix):
    """The tensors and numbers of a nested state by their path."""
    if isinstance(state, dict):
        items = state.items()
    elif isinstance(state, (list, tuple)):
        items = enumerate(state)
    elif isinstance(state, (torch.Tensor, int, float)):
        return {prefix: state}
    else:
        return {}
    return {k: v for key, part in items for k, v in flat(part, f"{prefix}.{key}").items()}
