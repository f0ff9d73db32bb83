"""One run at a time in a folder; a lock is gone with its process."""

from __future__ import annotations

import json
import os
import signal

import pytest

from mscn_plugin import ConfigError
from mscn_plugin.runs import lock as run_lock


@pytest.fixture
def holder(tmp_path):
    """Start a process that holds the lock of ``tmp_path``; it writes what it is told to be."""
    children = []

    def start(**said):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            run_lock.acquire(tmp_path)
            if said:
                os.pwrite(run_lock._held[tmp_path], json.dumps(said).encode().ljust(200), 0)
            os.write(write, b".")
            signal.pause()
        os.read(read, 1)
        children.append(child)
        return child

    yield start
    for child in children:
        end(child)
    run_lock.release(tmp_path)


def end(child):
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def test_a_second_run_is_refused_by_process_and_host(holder, tmp_path):
    child = holder()
    for lock in (run_lock.acquire, run_lock.refuse_if_held):
        with pytest.raises(ConfigError, match=rf"in use by another run \(process {child} on "):
            lock(tmp_path)


def test_a_killed_runs_lock_is_free_whatever_host_it_names(holder, tmp_path):
    child = holder(pid=4, host="elsewhere", slurm_job="7")
    with pytest.raises(ConfigError, match=r"process 4 on elsewhere, SLURM job 7\)"):
        run_lock.refuse_if_held(tmp_path)
    end(child)
    run_lock.refuse_if_held(tmp_path)
    run_lock.acquire(tmp_path)
    assert json.loads((tmp_path / run_lock.FILE).read_text())["pid"] == os.getpid()


def test_a_requeued_job_waits_for_its_own_former_process(holder, tmp_path, monkeypatch):
    child = holder(pid=4, host="elsewhere", slurm_job="7")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(run_lock.time, "sleep", lambda seconds: end(child))
    run_lock.acquire(tmp_path)


def test_its_own_process_may_look_and_lock_again(holder, tmp_path):
    run_lock.acquire(tmp_path)
    run_lock.acquire(tmp_path)
    run_lock.refuse_if_held(tmp_path)
    child = os.fork()  # still locked for others
    if child == 0:
        run_lock._held.clear()
        try:
            run_lock.refuse_if_held(tmp_path)
        except ConfigError:
            os._exit(7)
        os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    run_lock.release(tmp_path)


def test_looking_writes_nothing(tmp_path):
    run_lock.refuse_if_held(tmp_path / "none")
    run_lock.refuse_if_held(tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_link_is_followed(tmp_path):
    (tmp_path / "precious").write_text("content")
    (tmp_path / run_lock.FILE).symlink_to("precious")
    with pytest.raises(ConfigError, match=r"run.lock.* is a link"):
        run_lock.acquire(tmp_path)
    assert (tmp_path / "precious").read_text() == "content"
