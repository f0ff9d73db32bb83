from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from conftest import wait_for

from mscn_plugin.recovery.processes import Interruption


@pytest.fixture
def interruption():
    made = Interruption()
    yield made
    made.stop_listening()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_remembered_and_its_disposition_given_back(interruption, number):
    before = signal.getsignal(number)
    interruption.listen()
    assert interruption.signum is None
    os.kill(os.getpid(), number)
    assert interruption.signum == number
    assert interruption.stop_listening() is None  # nobody listened before
    assert signal.getsignal(number) == before


def test_who_listened_before_is_named(interruption, monkeypatch):
    seen = []
    previous = signal.signal(signal.SIGUSR2, lambda *a: seen.append(a))  # as submitit does
    try:
        interruption.listen()
        os.kill(os.getpid(), signal.SIGUSR2)
        interruption.stop_listening()(signal.SIGUSR2, None)
    finally:
        signal.signal(signal.SIGUSR2, previous)
    assert seen == [(signal.SIGUSR2, None)]


def test_a_taken_sigterm_stays_with_its_owner(interruption):
    """submitit ignores it, since SLURM sends it together with the signal to requeue."""
    seen = []
    previous = signal.signal(signal.SIGTERM, lambda *a: seen.append(a))
    try:
        interruption.listen()
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        interruption.stop_listening()
        signal.signal(signal.SIGTERM, previous)
    assert seen
    assert interruption.signum is None


CHILD = """
import multiprocessing, os, sys, threading

def work():
    from mscn_plugin.recovery.processes import die_with_parent
    die_with_parent()
    print(os.getpid(), flush=True)
    threading.Event().wait()

if __name__ == "__main__":
    process = multiprocessing.get_context(sys.argv[1]).Process(target=work, daemon=True)
    process.start()
    threading.Event().wait()
"""


@pytest.mark.new_interpreter
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_ends_with_its_parent(method, tmp_path):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    parent = subprocess.Popen(
        [sys.executable, str(script), method], stdout=subprocess.PIPE, text=True
    )
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_running(child), seconds=30)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
