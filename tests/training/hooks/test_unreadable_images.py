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


@pytest.fixture
def task_at(registered, tmp_path):
    def task(epoch, index, valid, batch=0):
        sample = {"data_idx": torch.tensor(index), "data_valid": torch.tensor(valid)}
        return SimpleNamespace(
            train=True,
            train_phase_idx=epoch,
            iteration=5 * (epoch + 1),
            device=torch.device("cpu"),
            checkpoint_folder=str(tmp_path),
            config=SimpleNamespace(MSCN=SimpleNamespace(MAX_UNREADABLE_SHARE=0.5)),
            dataloaders={
                "train": SimpleNamespace(
                    num_samples_of_epoch=10, num_samples=10 - 2 * batch, batch=batch
                )
            },
            datasets={"train": SimpleNamespace(path_of=lambda index: f"picture_{index}.png")},
            last_batch=SimpleNamespace(sample=sample),
        )

    return task


def test_an_epoch_that_was_resumed_counts_among_its_rest_and_stops_by_the_whole(
    task_at, tmp_path, caplog
):
    from mscn_plugin.checkpoints.run_folder import cut_logs
    from mscn_plugin.errors import RunError
    from mscn_plugin.training.hooks.unreadable_images import UnreadableImagesHook

    hook = UnreadableImagesHook()
    hook.on_phase_start(task_at(1, [], [], batch=3))
    hook.on_loss_and_meter(task_at(1, [6, 7, 8], [-1, -1, 1], batch=3))
    hook.on_phase_end(task_at(1, [], [], batch=3))
    assert "epoch 1 from batch 3 on: 2 of 4 images (50%) could not be read" in caplog.text
    line = {"train_phase_idx": 1, "iteration": 10, "unreadable_images": 2, "seen_images": 4}
    assert json_lines(tmp_path / "metrics.json") == [line]
    cut_logs(tmp_path, 9)
    assert json_lines(tmp_path / "metrics.json") == []
    hook.on_loss_and_meter(task_at(1, [3, 4, 5], [-1, -1, -1], batch=2))  # half, which is allowed
    with pytest.raises(
        RunError, match="and 6 of the 10 images of an epoch could not be read from batch 2"
    ):
        hook.on_loss_and_meter(task_at(1, [8], [-1], batch=2))


def test_nearly_blank_images_are_counted_once_and_a_few_are_named(task_at, tmp_path, caplog):
    from mscn_plugin.training.hooks.unreadable_images import UnreadableImagesHook

    task = task_at
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
        {"iteration": 5, "train_phase_idx": 0, "nearly_blank_images": 6, "seen_images": 10}
    ]
