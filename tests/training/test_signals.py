from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import wait_for

from mscn_plugin.data.parallel import signals_held_back
from mscn_plugin.training import signals as processes
from mscn_plugin.training.signals import (
    SCRIPT_SIGNALS,
    Interruption,
    end_on_signals,
    handlers_held_back,
    heeded_by_run,
    shield_loader_worker,
)


@pytest.fixture
def interruption():
    taken = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {n: signal.signal(n, handler) for n, handler in taken.items()}  # "&", nohup: ignored
    made = Interruption()
    yield made
    made.stop_listening()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGHUP, 75), (signal.SIGINT, 130)],
)
def test_a_signal_ends_at_once_where_nothing_is_unsaved_and_else_waits(interruption, number, code):
    before = signal.getsignal(number)
    interruption.listen()
    with pytest.raises(SystemExit) as end:
        os.kill(os.getpid(), number)
    assert end.value.code == code
    interruption.unsaved = True
    os.kill(os.getpid(), number)
    interruption.end_if_asked()
    assert interruption.signum == number
    interruption.unsaved = False
    with pytest.raises(SystemExit) as end:
        interruption.end_if_asked()
    assert end.value.code == code
    interruption.stop_listening()
    assert signal.getsignal(number) == before


def test_ctrl_c_again_does_not_wait(interruption, monkeypatch):
    interruption.listen()
    interruption.unsaved = True
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)  # the same: timeout(1) sends it twice
    monkeypatch.setattr(processes, "SAME_KEYSTROKE", 0.0)
    with pytest.raises(SystemExit) as end:
        os.kill(os.getpid(), signal.SIGINT)
    assert end.value.code == 130


def test_an_ignored_signal_stays_ignored(interruption):
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        interruption.listen()
        os.kill(os.getpid(), signal.SIGHUP)
    finally:
        interruption.stop_listening()
        signal.signal(signal.SIGHUP, previous)
    assert interruption.signum is None


def test_a_taken_sigterm_stays_with_its_owner(interruption):
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


class OfSubmitit:
    """Takes signals as submitit does in its jobs."""

    def __init__(self):
        self.requeued = []

    def bypass(self, signum, frame=None):
        pass

    def checkpoint_and_try_requeue(self, signum, frame=None):
        self.requeued.append(signum)


OfSubmitit.__module__ = "submitit.core.job_environment"


@pytest.mark.parametrize(
    ("number", "state", "requeued"),
    [
        (signal.SIGUSR1, "RUNNING", True),
        (signal.SIGUSR2, "RUNNING", True),
        (signal.SIGTERM, "RUNNING", True),
        (signal.SIGTERM, "COMPLETING", False),  # its owner has canceled it
        (signal.SIGINT, "RUNNING", False),
    ],
)
def test_a_job_of_submitit_is_requeued(
    interruption, monkeypatch, tmp_path, number, state, requeued
):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho JobId=7 JobState={state} Reason=None\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    job = OfSubmitit()
    before = [(n, signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGUSR2)]
    signal.signal(signal.SIGTERM, job.bypass)
    signal.signal(signal.SIGUSR2, job.checkpoint_and_try_requeue)
    try:
        interruption.listen()
        with pytest.raises(SystemExit):
            os.kill(os.getpid(), number)
        interruption.requeue()  # once more, as after the ranks
    finally:
        interruption.stop_listening()
        for n, handler in before:
            signal.signal(n, handler)
    assert job.requeued == [number] * requeued


def test_an_end_that_python_drops_is_made_up_for(interruption, capfd):
    """As it drops what a signal's handler raises in a destructor."""

    class Requeuing(OfSubmitit):
        def checkpoint_and_try_requeue(self, signum, frame=None):
            super().checkpoint_and_try_requeue(signum)
            raise SystemExit(144)

    Requeuing.__module__ = OfSubmitit.__module__
    job = Requeuing()
    before = signal.signal(signal.SIGUSR2, job.checkpoint_and_try_requeue)
    try:
        interruption.listen()
        for end in (lambda: os.kill(os.getpid(), signal.SIGUSR2), interruption.end_if_asked):
            with pytest.raises(SystemExit) as raised:
                end()
            assert raised.value.code == 144
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert job.requeued == [signal.SIGUSR2]
    assert capfd.readouterr().err.count("ended on request") == 1


def test_a_loaders_worker_heeds_no_signal_while_it_starts():
    previous = signal.signal(signal.SIGUSR1, lambda *_: seen.append("parent"))
    seen = []
    try:
        with signals_held_back(processes.SIGNALS):
            child = os.fork()
            if child == 0:
                os.kill(os.getpid(), signal.SIGUSR1)
                shield_loader_worker()
                os._exit(7 if not seen else 8)
        _, status = os.waitpid(child, 0)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert os.waitstatus_to_exitcode(status) == 7


CHILD = """
import multiprocessing, os, sys, threading

def work():
    from mscn_plugin.training.signals import die_with_parent
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 75), (signal.SIGINT, 130)])
def test_a_script_ends_in_one_line(script_signals, monkeypatch, capfd, number, code):
    ends = []
    monkeypatch.setattr(os, "_exit", ends.append)
    end_on_signals("any")
    with pytest.raises(SystemExit) as end:
        os.kill(os.getpid(), number)
    assert end.value.code == code
    said = f"any: stopped by {number.name}; to resume, start the same command again\n"
    assert capfd.readouterr().err == said
    os.kill(os.getpid(), number)  # as "timeout" does
    assert not ends
    monkeypatch.setattr(processes, "SAME_KEYSTROKE", -1.0)
    os.kill(os.getpid(), number)
    assert ends == [code]


def test_what_is_ignored_stays_ignored_in_a_script(script_signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_on_signals("any")
    os.kill(os.getpid(), signal.SIGHUP)


def test_a_held_back_signal_comes_after_the_block_from_whichever_thread(script_signals):
    end_on_signals("x")
    done = []
    with pytest.raises(SystemExit) as raised:  # noqa: PT012
        with handlers_held_back(SCRIPT_SIGNALS):
            sender = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM))
            sender.start()
            sender.join()
            time.sleep(0.05)
            done.append("inside")
        done.append("behind")
    assert raised.value.code == 75
    assert done == ["inside"]
    assert signal.getsignal(signal.SIGTERM).__qualname__.startswith("end_on_signals")


def test_an_error_in_a_run_leaves_a_script_its_handlers(script_signals, interruption, monkeypatch):
    monkeypatch.setattr(processes, "interruption", interruption)
    end_on_signals("x")
    before = {number: signal.getsignal(number) for number in SCRIPT_SIGNALS}
    with pytest.raises(ValueError, match="wrong"), heeded_by_run():  # noqa: PT012
        assert signal.getsignal(signal.SIGTERM) == interruption._receive
        raise ValueError("wrong")
    assert {number: signal.getsignal(number) for number in SCRIPT_SIGNALS} == before
    # Of a run that ends on request the exit is not interrupted once more.
    with pytest.raises(SystemExit), heeded_by_run():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == interruption._receive
