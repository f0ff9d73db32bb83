"""Runs on packed images and on Parquet files are those on the folder, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import tool_environment
from torch.utils.data import DataLoader

from mscn_plugin.data.pack import Settings, pack
from mscn_plugin.training.resumable_loader import ResumableLoader


def write_parquet(folder, output):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for split in ("train", "val"):
        files = sorted((folder / split).rglob("*.png"))
        images = [{"bytes": f.read_bytes(), "path": f"{f.parent.name}/{f.name}"} for f in files]
        table = arrow.table({"image": images, "label": [f.parent.name for f in files]})
        parquet.write_table(table, output / f"{split}-0.parquet", row_group_size=5)


@pytest.fixture
def kinds(image_folder, tmp_path):
    """The same images as a folder, as shards of ours and of others, and as Parquet files."""
    for name in ("packed", "shards"):
        pack(str(image_folder), tmp_path / name, Settings(images_per_shard=10))
    for split in ("train", "val"):
        (tmp_path / "shards" / split / "index.mscn").unlink()
    (tmp_path / "parquet").mkdir()
    write_parquet(image_folder, tmp_path / "parquet")
    return {"folder": image_folder, **{n: tmp_path / n for n in ("packed", "shards", "parquet")}}


def views(batch):
    return [value for key in sorted(batch) for value in flat(batch[key])]


def flat(value):
    if isinstance(value, (list, tuple)):
        return [tensor for part in value for tensor in flat(part)]
    return [value] if isinstance(value, torch.Tensor) else []


def test_batches_of_a_resumed_epoch_are_those_of_the_folder(compose, kinds):
    """In another process, with another number of workers, from within the epoch."""
    from vissl.data.collators import get_collator

    from mscn_plugin.data.readable_images import dataset_of
    from mscn_plugin.transforms.loader_pipeline import loader_config

    config, _ = loader_config(
        compose(
            *("config=mscn/quickstart", f"config.MSCN.DATA={kinds['folder']}"),
            *("config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8", "config.MSCN.DEVICE_VIEWS=False"),
            "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        )
    )
    train = config.DATA.TRAIN
    order = torch.randperm(32, generator=torch.Generator().manual_seed(1)).tolist()

    def batches(kind, workers, first):
        from mscn_plugin.data.sources import find_splits

        splits = find_splits(str(kinds[kind]), "KEY")
        train.DATA_SOURCES = train.LABEL_SOURCES = [splits.source]
        train.DATA_PATHS = train.LABEL_PATHS = [str(splits.train)]
        config.MSCN.DATA = str(kinds[kind])
        dataset = dataset_of(config, "TRAIN")
        dataset.epoch = 3
        collate = get_collator(train.COLLATE_FUNCTION, train.COLLATE_FUNCTION_PARAMS)
        loader = ResumableLoader(
            DataLoader(dataset, 8, sampler=order, num_workers=workers, collate_fn=collate), 0, 0
        )
        loader.start(3, first)
        loader.skip(first)
        return [views(batch) for batch in loader]

    whole = batches("folder", 0, 0)
    assert len(whole) == 4
    for kind, cache in (("packed", "none"), ("shards", "memory"), ("parquet", "none")):
        config.MSCN.CACHE = cache
        rest = batches(kind, 1, 2)
        assert len(rest) == 2
        for batch, expected in zip(rest, whole[2:]):
            assert len(batch) == len(expected) > 1
            assert all(map(torch.equal, batch, expected)), kind


KILLING = (
    "import os, signal, torch, runpy\n"
    "calls, step = [], torch.optim.Optimizer.zero_grad\n"
    "def zero_grad(*a, **k):\n"
    "    calls.append(1)\n"
    "    if len(calls) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
    "    step(*a, **k)\n"
    "torch.optim.Optimizer.zero_grad = zero_grad\n"
    "runpy.run_module('tools.run_distributed_engines', run_name='__main__', alter_sys=True)"
)
"""VISSL's tool, killed in the third step of four."""


@pytest.mark.process
def test_a_killed_and_resumed_run_is_an_unbroken_one_on_the_folder(run_tool, tiny, kinds, tmp_path):
    """Weights, online accuracies and what they are measured on."""
    common = ["config=mscn/quickstart", *tiny[2:], "config.CHECKPOINT.CHECKPOINT_ITER_FREQUENCY=1"]
    common += ["config.DATA.TRAIN.USE_STATEFUL_DISTRIBUTED_SAMPLER=True"]
    run_tool(*common, f"config.MSCN.DATA={kinds['folder']}", "config.CHECKPOINT.DIR=folder")
    broken = [*common, f"config.MSCN.DATA={kinds['packed']}", "config.CHECKPOINT.DIR=packed_run"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLING, *broken],
        cwd=tmp_path,
        env=tool_environment(),
        capture_output=True,
    )
    assert killed.returncode == -9
    assert (tmp_path / "packed_run" / "model_iteration2.torch").is_file()
    run_tool(*broken)
    final = "model_final_checkpoint_phase0.torch"
    one, other = (
        torch.load(tmp_path / name / final, weights_only=True)["classy_state_dict"]["base_model"]
        for name in ("folder", "packed_run")
    )
    assert one["model"]["trunk"].keys() == other["model"]["trunk"].keys()
    for part in ("trunk", "heads"):
        for name, value in one["model"][part].items():
            assert torch.equal(value, other["model"][part][name]), name
    last = []
    for name in ("folder", "packed_run"):
        lines = (tmp_path / name / "metrics.json").read_text().splitlines()
        found = [json.loads(line) for line in lines if "online_evaluation" in line]
        last.append((found[-1]["online_evaluation"], found[-1]["images"]["val"]["number"]))
        assert os.path.isdir(found[-1]["images"]["train"]["path"])
    assert last[0] == last[1]
