"""The Python that most tests start behaves as the one that it stands for."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
import warm_python
from conftest import NEW_INTERPRETER, wait_for

pytestmark = pytest.mark.process


PROGRAMS = {
    "exit code": (["-c", "import sys; sys.exit(7)"], 7),
    "no exit code": (["-c", "import sys; sys.exit('a reason')"], 1),
    "exception": (["-c", "raise ValueError('wrong')"], 1),
    "killed by itself": (["-c", "import os; os.kill(os.getpid(), 9)"], -9),
    "interrupted": (["-c", "raise KeyboardInterrupt"], -signal.SIGINT),
    "arguments": (["-c", "import sys; print(sys.argv)", "a b", "", "ü"], 0),
    "folder": (["-c", "import os, sys; print(os.getcwd(), repr(sys.path[0]))"], 0),
    "module": (["-m", "json.tool", "--help"], 0),
    "warnings": (["-W", "error", "-c", "import warnings; warnings.warn('no')"], 1),
    "standard input": (["-c", "print(input())"], 0),
    "at exit": (["-c", "import atexit; atexit.register(print, 'bye'); print('hi')"], 0),
    "main": (["-c", "x = 1\ndef f(): return x\nprint(f(), __name__)"], 0),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_ends_and_prints_as_a_new_interpreter(python, tmp_path, program):
    arguments, code = PROGRAMS[program]
    results = [
        subprocess.run(
            [executable, *arguments],
            cwd=tmp_path,
            input="a line\n",
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )
        for executable in (python, NEW_INTERPRETER)
    ]
    assert [result.returncode for result in results] == [code, code]
    assert results[0].stdout == results[1].stdout
    last = [result.stderr.splitlines()[-1:] for result in results]
    assert last[0] == last[1]


def test_a_script_finds_what_lies_beside_it(python, tmp_path):
    (tmp_path / "beside.py").write_text("value = 3")
    (tmp_path / "script.py").write_text("import beside, sys\nprint(beside.value, sys.argv[1:])")
    result = subprocess.run([python, tmp_path / "script.py", "x"], capture_output=True, text=True)
    assert result.stdout == "3 ['x']\n"


WAITING = """
import os, signal, sys, threading
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(5))
open("there", "w").write(str(os.getpid()))
threading.Event().wait()
"""


@pytest.fixture
def waiting(python, tmp_path):
    """A process that waits for a signal, and the number of the forked one."""
    process = subprocess.Popen([python, "-c", WAITING], cwd=tmp_path)
    there = tmp_path / "there"
    wait_for(lambda: there.exists() and there.read_text())
    yield process, int(there.read_text())
    process.kill()
    process.wait()


def test_signals_are_handed_on(waiting):
    process, _ = waiting
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == 5


def test_a_signal_that_nobody_takes_ends_it(waiting):
    process, _ = waiting
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM


def test_who_is_killed_takes_the_forked_process_along(waiting):
    process, forked = waiting
    process.kill()
    process.wait()
    wait_for(lambda: not os.path.exists(f"/proc/{forked}"), seconds=30)


def test_a_server_that_dies_is_no_success(tmp_path):
    folder = tmp_path / ("long" * 30) / "with space"
    with warm_python.started(folder, bare=True) as python:
        code = "import os; os.kill(os.getppid(), 9)"
        result = subprocess.run([python, "-c", code], capture_output=True, text=True)
        assert result.returncode == 70
        assert result.stderr == "warm_python: the server has died\n"


def test_numbers_of_numpy_are_not_those_of_another_process(python):
    code = "import numpy; print(numpy.random.rand())"
    numbers = [subprocess.check_output([python, "-c", code]) for _ in range(2)]
    assert numbers[0] != numbers[1]
