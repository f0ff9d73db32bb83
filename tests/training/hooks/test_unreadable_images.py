"""The zoo of images that are found in the wild, through VISSL's tool without root's privileges."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch

from benchmarks.reliability.zoo import train_on_zoo
from mscn_plugin.checkpoints.run_folder import json_lines


@pytest.mark.process
def test_training_goes_on_and_counts(tmp_path):
    row = train_on_zoo(tmp_path, workers=2)
    assert row["right"], row
    assert row["counted"] == [7, 7, 7]


@pytest.mark.process
def test_too_many_stop_the_run(tmp_path):
    row = train_on_zoo(tmp_path, workers=0, share=0.1)
    assert row["right"], row
    assert "7 of the 48 images of an epoch could not be read, such as" in row["said"][0]


@pytest.mark.usefixtures("registered")
def test_nearly_blank_images_are_counted_once_and_a_few_are_named(tmp_path, caplog):
    from mscn_plugin.training.hooks.unreadable_images import UnreadableImagesHook

    def task(epoch, index, valid):
        sample = {"data_idx": torch.tensor(index), "data_valid": torch.tensor(valid)}
        return SimpleNamespace(
            train=True,
            train_phase_idx=epoch,
            device=torch.device("cpu"),
            checkpoint_folder=str(tmp_path),
            config=SimpleNamespace(MSCN=SimpleNamespace(MAX_UNREADABLE_SHARE=0.5)),
            dataloaders={"train": SimpleNamespace(sampler=range(10))},
            datasets={"train": SimpleNamespace(path_of=lambda index: f"picture_{index}.png")},
            last_batch=SimpleNamespace(sample=sample),
        )

    hook = UnreadableImagesHook()
    with caplog.at_level(logging.WARNING):
        for epoch in range(3):
            hook.on_phase_start(task(epoch, [], []))
            for index in ([0, 1, 2], [3, 4, 5], [6, 7, 8]):
                hook.on_loss_and_meter(task(epoch, index * 2, [2, 1, 2] * 2))
            hook.on_phase_end(task(epoch, [], []))
    messages = [record.getMessage() for record in caplog.records]
    assert [text.split()[0] for text in messages[:-1]] == [f"picture_{i}.png" for i in (0, 2, 3)]
    assert messages[-1] == "epoch 0: 6 of 10 images (60%) came out nearly blank"
    assert json_lines(tmp_path / "metrics.json") == [
        {"train_phase_idx": 0, "nearly_blank_images": 6}
    ]
