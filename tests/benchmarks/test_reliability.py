"""A few of the faults of ``python -m benchmarks.reliability``; all of them are in docs/."""

from __future__ import annotations

import os
import signal

import pytest
from conftest import NEW_INTERPRETER

from benchmarks.reliability import kills, processes
from benchmarks.reliability.runs import Setting, write_images

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def data(once):
    return once("reliability_data", write_images)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Where the runs of two processes that nobody disturbs lie, for both tests."""
    return tmp_path_factory.mktemp("undisturbed")


def all_survived(outcomes):
    assert all(outcome.survived for outcome in outcomes), outcomes
    return sum(len(outcome.kills) for outcome in outcomes)


def test_killed_in_writes_and_damaged_a_run_ends_as_an_unbroken_one(data, tmp_path):
    setting = Setting("simclr", 0, device_views=False, by_iteration=True, epochs=4)
    whole = tmp_path / "unbroken"
    expected, _ = kills.unbroken(setting, whole, data)
    arguments = setting, tmp_path, data, expected
    outcomes = kills.kill_in_writes(*arguments, kills=2, seed=1, pause=0.02)
    damaged = tmp_path / "damaged"
    damage = kills.damage_newest(setting, damaged, data, whole, expected, "bit flipped")
    assert all_survived([*outcomes, damage]) >= 2


def test_killed_at_random_a_run_ends_as_an_unbroken_one(data, tmp_path):
    setting = Setting("byol", 2, epochs=4, augment_on="device")
    expected, length = kills.unbroken(setting, tmp_path / "unbroken", data)
    arguments = setting, tmp_path, data, expected
    assert all_survived(kills.kill_at_random(*arguments, length, kills=2, seed=0)) == 2


def interfere(what, act, undisturbed, data):
    """The disturbed run has spawned ranks, whose death is looked at: interpreters of their own."""
    return processes.interfere(
        what, act, 2, undisturbed, data, workers=0, epochs=4, python=NEW_INTERPRETER
    )


def test_on_request_a_run_ends_at_the_next_step_and_goes_on_there(data, undisturbed):
    end = interfere("SIGUSR1", lambda pid: os.kill(pid, signal.SIGUSR1), undisturbed, data)
    assert end.code == 75
    assert (end.restart, end.differing, end.left_running) == (0, [], 0)


def test_a_killed_rank_ends_all(data, undisturbed):
    end = interfere(
        "rank killed",
        lambda pid: os.kill(processes._ranks(pid)[-1], signal.SIGKILL),
        undisturbed,
        data,
    )
    assert end.code != 0
    assert (end.restart, end.differing, end.left_running) == (0, [], 0)


def test_a_full_disk_is_one_sentence(data, tmp_path):
    row = processes.fill_disk(tmp_path, data, epochs=4)
    assert row["right"], row
