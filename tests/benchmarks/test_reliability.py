"""A few of the faults of ``python -m benchmarks.reliability``; all of them are in docs/."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from benchmarks.reliability import kills, processes
from benchmarks.reliability.runs import Setting, result_of, write_images

pytestmark = pytest.mark.process
SIMCLR = Setting("simclr", 0, device_views=False, by_iteration=True, epochs=4)


@pytest.fixture(scope="module")
def data(once):
    return once("reliability_data", write_images)


@pytest.fixture
def whole(once, data):
    """The folder of a run of ``SIMCLR`` that nobody disturbs."""

    def build(folder):
        kills.unbroken(SIMCLR, folder / "run", data)

    return once("reliability_whole", build) / "run"


@pytest.fixture
def undisturbed(once, data):
    """Where a run of two processes that nobody disturbs lies."""

    def build(folder):
        processes.undisturbed(folder, processes._overrides(2, data, **OF_TWO), 2)

    return once("reliability_undisturbed", build)


def all_survived(outcomes):
    assert all(outcome.survived for outcome in outcomes), outcomes
    return sum(len(outcome.kills) for outcome in outcomes)


def test_killed_in_writes_and_damaged_a_run_ends_as_an_unbroken_one(data, whole, tmp_path):
    expected = result_of(whole)
    arguments = SIMCLR, tmp_path, data, expected
    outcomes = kills.kill_in_writes(*arguments, kills=2, seed=1, pause=0.02)
    damaged = tmp_path / "damaged"
    damage = kills.damage_newest(SIMCLR, damaged, data, whole, expected, "bit flipped")
    assert all_survived([*outcomes, damage]) >= 2


def test_killed_at_random_a_run_ends_as_an_unbroken_one(data, tmp_path):
    setting = Setting("byol", 2, epochs=4, augment_on="device")
    expected, length = kills.unbroken(setting, tmp_path / "unbroken", data)
    arguments = setting, tmp_path, data, expected
    assert all_survived(kills.kill_at_random(*arguments, length, kills=2, seed=0)) == 2


OF_TWO = {"workers": 0, "method": "fork", "epochs": 4}


def test_on_request_a_run_ends_at_the_next_step_and_goes_on_there(data, undisturbed):
    def ask(pid):
        os.kill(pid, signal.SIGUSR1)

    end = processes.interfere("SIGUSR1", ask, 2, undisturbed, data, **OF_TWO)
    assert end.code == 75
    assert (end.restart, end.differing) == (0, [])


def test_a_killed_rank_ends_all(data, undisturbed):
    """The ranks of a warm Python are forked; spawned ones are in tests/vissl/test_bootstrap.py."""

    def kill(_):
        parents = processes_in(undisturbed)
        os.kill(max(pid for pid, parent in parents.items() if parent in parents), signal.SIGKILL)

    end = processes.interfere("rank killed", kill, 2, undisturbed, data, **OF_TWO)
    assert end.code != 0
    assert (end.restart, end.differing) == (0, [])
    assert not processes_in(undisturbed)


def processes_in(folder):
    """Processes that work in a folder, and their parents."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink() == folder:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    return parents


def test_a_full_disk_is_one_sentence(data, whole, tmp_path):
    row = processes.fill_disk(tmp_path, data, SIMCLR, whole)
    assert row["right"], row
