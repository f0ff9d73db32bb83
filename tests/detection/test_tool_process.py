"""The tool's process, and what ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from conftest import wait_for

from mscn_plugin.detection import tool_process
from mscn_plugin.detection.tool_process import run
from mscn_plugin.errors import RunError
from mscn_plugin.training.signals import end_on_signals


def shell(script):
    return ["sh", "-c", script]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -9 $$", "was killed, probably out of memory: use fewer images"),
        ("echo 'process 0 terminated with signal SIGKILL' >&2; exit 1", "probably out of memory"),
        ("echo 'worker (pid 1) is killed by signal: Killed. ' >&2; exit 1", "out of memory"),
        ("echo 'torch.OutOfMemoryError: CUDA out of memory' >&2; exit 1", "the GPU's memory"),
        ("kill -TERM $$", "was ended by SIGTERM"),
        ("exit 3", "ended with status 3; see its messages above"),
    ],
)
def test_why_the_tool_ended(script, message):
    with pytest.raises(RunError, match=message):
        run(shell(script), {})


def test_messages_and_environment_are_handed_on(capsys):
    run(shell("echo $SAID >&2"), {"SAID": "hello"})
    assert capsys.readouterr().err == "hello\n"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
@pytest.mark.parametrize("ignores", [False, True])
def test_a_signal_ends_the_tool(tmp_path, monkeypatch, script_signals, number, code, ignores):
    monkeypatch.setattr(tool_process, "_GRACE", 0.2)
    pid = tmp_path / "pid"
    ignore = "trap '' TERM;" if ignores else ""

    def send():
        wait_for(lambda: pid.is_file() and pid.read_text().strip())
        # Handled while the main thread reads, which the signal does not wake.
        signal.pthread_kill(threading.get_ident(), number)

    sender = threading.Thread(target=send)
    try:
        end_on_signals("detect")
        sender.start()
        with pytest.raises(SystemExit) as raised:
            run(shell(f"{ignore} echo $$ > {pid}; while true; do sleep 0.05; done"), {})
    finally:
        sender.join()
    assert raised.value.code == code
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_tool_whose_messages_nobody_reads_is_ended(monkeypatch, tmp_path):
    class Closed:
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    with pytest.raises(BrokenPipeError):
        run(shell(f"echo $$ > {tmp_path}/pid; while true; do echo a >&2; done"), {})
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's parent-death signal")
def test_the_tool_does_not_outlive_a_kill(tmp_path):
    code = (
        "from mscn_plugin.detection.tool_process import run\n"
        f"run(['sh', '-c', 'echo $$ > {tmp_path}/pid; exec sleep 60'], {{}})"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    pid = int(wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text()))
    process.kill()
    process.wait()

    def gone():
        stat = f"/proc/{pid}/stat"
        return not os.path.exists(stat) or open(stat).read().split()[2] == "Z"

    wait_for(gone, 10)
