"""Work shared by processes: they end, however early they are asked to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from mscn_plugin.data.parallel import in_processes
from mscn_plugin.errors import RunError

EARLY = """
import signal, time
from mscn_plugin.data import parallel

begin, first = parallel._begin, parallel.multiprocessing.get_context("fork").Value("i", 0)

def late():
    with first.get_lock():
        first.value += 1
        waits = first.value > 1
    if waits:
        time.sleep(1)  # it is ended meanwhile
    begin()

parallel._begin = late
signal.signal(signal.SIGTERM, lambda *_: None)
with parallel.in_processes(abs, [-1, -2], 2) as results:
    print(next(results))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


@pytest.mark.new_interpreter
def test_a_process_that_has_only_just_begun_is_ended_too():
    done = subprocess.run(
        [sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=60, check=True
    )
    result, blocked = done.stdout.splitlines()
    assert result in ("1", "2")  # of either process, whichever begins first
    assert blocked == "set()"  # this process blocks no signal


def test_all_results_come_and_an_error_is_raised_here():
    with in_processes(abs, list(range(-9, 0)), 3) as results:
        assert sorted(results) == list(range(1, 10))
    with pytest.raises(ZeroDivisionError) as error, in_processes(divmod_of, [1, 0], 2) as results:
        list(results)
    assert "in divmod_of" in str(error.value.__cause__)  # where it happened


def divmod_of(number):
    return divmod(1, number)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"was killed \(signal 9\): .*--jobs"),
        (lambda: os._exit(3), r"ended \(status 3\): start again"),
    ],
)
def test_a_process_that_is_killed_is_an_error(end, message):
    """Here, as the system does where memory runs out; others wait for no result of it."""

    def work(number):
        return end() if number == 3 else number

    done = []
    with pytest.raises(RunError, match=message), in_processes(work, [1, 2, 3, 4], 2) as results:
        done.extend(results)
    assert set(done) <= {1, 2, 4}


def test_a_workers_worker_computes_by_itself():
    """A loader's workers may have no processes of their own."""

    def inner(number):
        with in_processes(abs, [-number, -number], 2) as results:
            return list(results)

    with in_processes(inner, [1, 2], 2) as results:
        assert sorted(results) == [[1, 1], [2, 2]]
