"""Work shared by processes: they end, however early they are asked to."""

from __future__ import annotations

import subprocess
import sys

import pytest

EARLY = """
import signal, time
from mscn_plugin.data import parallel

begin, first = parallel._begin, parallel.multiprocessing.get_context("fork").Value("i", 0)

def late():
    with first.get_lock():
        first.value += 1
        waits = first.value > 1
    if waits:
        time.sleep(1)  # the work is done meanwhile, and the pool ended
    begin()

parallel._begin = late
signal.signal(signal.SIGTERM, lambda *_: None)
with parallel.in_processes(abs, [-1, -2], 2) as results:
    print(sorted(results))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


@pytest.mark.new_interpreter
def test_a_process_that_has_only_just_begun_is_ended_too():
    done = subprocess.run(
        [sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["[1, 2]", "set()"]  # this process blocks no signal
