"""How a script hands its arguments and signals on to VISSL's tool."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from conftest import wait_for
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from mscn_plugin.config.hydra_overrides import hydra_override, named_files
from mscn_plugin.runs import launch
from mscn_plugin.runs import lock as run_lock
from mscn_plugin.runs.launch import (
    RunFailedError,
    StoppedError,
    ToolRun,
    check_stopped,
    stopped_by_signals,
    tool,
)

PARSER = OverridesParser.create()
text = st.text(st.sampled_from("aZ09_/.-+=:,;'\"\\ []{}()$%#@!~^&*?<>|`\n\tü漢"), max_size=8)
scalars = st.one_of(text, st.text(max_size=8), st.booleans(), st.none(), st.integers())
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
values = st.recursive(
    scalars,
    lambda v: st.lists(v, max_size=2) | st.dictionaries(names, v, max_size=2),
    max_leaves=3,
)


@settings(max_examples=60, deadline=None)
@given(values)
def test_hydra_reads_every_value_as_it_was(value):
    override = PARSER.parse_override(hydra_override("config.CHECKPOINT.DIR", value))
    assert override.key_or_group == "config.CHECKPOINT.DIR"
    assert override.value() == value


@pytest.mark.parametrize("word", ["true", "Null", "nan", "inf", "12", "1e5", "~x", ""])
def test_text_that_looks_like_something_else_stays_text(word):
    assert PARSER.parse_override(hydra_override("a", word)).value() == word


def test_plain_paths_are_left_as_they_are():
    """Folders of evaluations are named after their overrides: those that are there stay known."""
    assert hydra_override("+a.b", Path("/data/my-images_2.0")) == "+a.b=/data/my-images_2.0"


def test_the_tool_is_vissls_whatever_folder_one_is_in(tmp_path, monkeypatch):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "run_distributed_engines.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import vissl

    assert tool() == str(Path(vissl.__file__).parents[1] / "tools" / "run_distributed_engines.py")


class Program(ToolRun):
    """Any program in the tool's place."""

    slurm = ()

    def __init__(self, output, *command):
        self.output = output
        self.command = command

    command = ()

    def read_metrics(self):
        return {"accuracy": 1.0}


@pytest.fixture
def stop(monkeypatch):
    made = launch._Stop()
    monkeypatch.setattr(launch, "_stop", made)
    monkeypatch.setattr(launch, "_POLL_SECONDS", 0.01)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored behind "&"
    yield made
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_reaches_the_tool_and_no_other_is_started(
    stop, tmp_path, monkeypatch, capfd, number, code
):
    monkeypatch.chdir(tmp_path)
    loop = "trap 'exit 9' INT TERM; touch up; while :; do sleep 0.01; done"
    first = Program(tmp_path / "first", "sh", "-c", loop)
    second = Program(tmp_path / "second", "touch", tmp_path / "begun")

    def signal_when_up():
        wait_for((tmp_path / "up").exists)
        os.kill(os.getpid(), number)

    def script():
        with stopped_by_signals("script"):
            for program in (first, second):
                with pytest.raises(StoppedError):
                    program.run(lambda done: None)
            check_stopped()

    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    threading.Thread(target=signal_when_up).start()
    with pytest.raises(SystemExit) as end:
        script()
    assert end.value.code == code
    assert not (tmp_path / "begun").exists()
    assert not (tmp_path / "first" / "finished").exists()
    assert capfd.readouterr().err == (
        f"script: stopped by {number.name}; the same command resumes\n"
    )
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_ctrl_c_again_kills_the_tool(stop, tmp_path, monkeypatch):
    killed = []
    stop.processes = [type("Process", (), {"send_signal": lambda self, n: killed.append(n)})()]
    monkeypatch.setattr(launch, "SAME_KEYSTROKE", 0.0)
    stop.receive(signal.SIGINT, None)
    stop.receive(signal.SIGINT, None)
    assert killed == [signal.SIGINT, signal.SIGKILL]


def test_a_folder_in_which_another_process_is_at_work_is_left_alone(stop, tmp_path):
    program = Program(tmp_path, "true")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        run_lock.acquire(tmp_path)
        (tmp_path / "console.txt").write_text("of the other")
        os.write(write, b".")
        signal.pause()
    os.read(read, 1)
    with pytest.raises(RunFailedError, match=f"in use by another run .process {child} "):
        program.run(lambda done: None)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / "console.txt").read_text() == "of the other"
    program.run(lambda done: None)


def test_files_that_overrides_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("1percent.txt", "lars", "onepercent"):
        (tmp_path / name).touch()
    overrides = [
        "config.MSCN.TRAIN_SUBSET=1percent.txt",
        f"config.DATA.TRAIN.DATA_PATHS=[{tmp_path}/1percent.txt]",
        *("config.OPTIMIZER.name=lars", "config.A=~nobody/a.txt", f"config.B={300 * 'a'}.txt"),
    ]
    assert named_files(overrides) == [Path("1percent.txt"), tmp_path / "1percent.txt"]
    for override in (
        *("config.MSCN.TRAIN_SUBSET=onepercent", "+config.MSCN.BOXES='onepercent'"),
        *("config.MSCN={STATISTICS:onepercent}", "config.DATA.TRAIN.LABEL_PATHS=[onepercent]"),
    ):
        assert named_files([override]) == [Path("onepercent")], override
    assert named_files(["config.OPTIMIZER.name=onepercent", "config.MSCN.TRAIN_SUBSET=no"]) == []
