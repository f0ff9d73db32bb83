"""What all commands of ``mscn`` have in common, and the scripts that are doors to them."""

from __future__ import annotations

import argparse
import os
import re
import runpy
from pathlib import Path

import pytest
from conftest import run_python

from mscn_plugin import cli
from mscn_plugin.errors import ConfigError

SCRIPTS = {
    "detect": "detect",
    "draw_detections": "draw detections",
    "draw_experiments": "draw experiments",
    "draw_kernels": "draw kernels",
    "draw_masks": "draw masks",
    "evaluate": "evaluate",
    "export": "export",
    "extract_target": "target",
    "make_subset": "subset",
    "replay_step": "replay",
    "run_experiments": "experiments",
    "summarize_run": "summary",
    "write_report": "report",
}
"""Scripts of ``extra_scripts``, and their commands."""
FOLDER = Path(__file__).parents[2] / "extra_scripts"
ARGUMENTS = {
    "detect": ["run", "--dataset", "voc"],
    "draw detections": ["run", "picture"],
    "draw masks": [],
    "export": ["run", "--output", "out"],
    "experiments": ["table7"],
    "target": ["run", "out"],
    "subset": ["folder", "0.1", "--output", "out"],
    "pack": ["folder", "out"],
}
"""That a command takes, where these are not one path."""


@pytest.mark.hydra
@pytest.mark.parametrize(
    "words",
    [
        ["train", "mscn/quickstart", "MSCN.DATA=photographs", "--slurm", "gpu", "--nodes", "4"],
        ["train", "mscn/quickstart", "MSCN.DATA=photographs", "SLURM.USE_SLURM=true"],
        ["train", "test/integration_test/quick_simclr", "--slurm", "gpu", "--output", "run"],
        ["evaluate", "run", "--slurm", "gpu"],
        ["experiments", "table7", "--slurm", "gpu"],
    ],
    ids=lambda words: " ".join(words[:4]),
)
def test_slurm_where_there_is_none_is_refused(mscn, registered, tmp_path, monkeypatch, words):
    """submitit would start a process here, which nobody waits for or limits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    said = r"config.SLURM.USE_SLURM is True \(--slurm\), and there is no srun on the PATH: "
    with pytest.raises(SystemExit, match=f"^mscn {words[0]}: {said}"):
        mscn(*words)
    assert not list(tmp_path.iterdir())


def test_every_script_is_a_door():
    """But for the pack of a machine without a network, an example, and the data of the study."""
    others = {"pack_for_gpu", "spoken_digits", "tiny_imagenet_100"}
    assert {path.stem for path in FOLDER.glob("*.py")} == {*SCRIPTS, *others}


@pytest.mark.parametrize(("name", "command"), SCRIPTS.items())
def test_a_script_is_its_command(run_script, mscn, capsys, name, command):
    texts = []
    for run, program in ((run_script, f"{name}.py"), (mscn, f"mscn {command}")):
        with pytest.raises(SystemExit) as end:
            run(f"{name}.py" if run is run_script else command, "--help")
        assert not end.value.code
        text = capsys.readouterr().out
        assert text.startswith(f"usage: {program} ")
        texts.append("".join(text.replace(program, "").split()))
    assert texts[0].replace(f"mscn{command}".replace(" ", ""), "") == texts[1]


def test_who_imports_a_script_does_not_run_it():
    for name in SCRIPTS:
        assert runpy.run_path(str(FOLDER / f"{name}.py"))["script"] is cli.script


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_help_of_a_command_has_examples_that_it_takes(command, capsys):
    text = cli.module_of(command).__doc__
    examples = re.findall(rf"^    mscn {command} (.*)$", text.partition("examples:")[2], re.M)
    assert examples
    for example in examples:
        words = re.split(r" [|>]", example)[0].split()
        options = cli._parse(cli.mscn_parser(), [*command.split(), *words])
        assert options.command == command


@pytest.mark.new_interpreter
def test_help_imports_nothing_heavy():
    """Of ``mscn`` and of every command, whose arguments its parser has, too."""
    code = "import sys; from mscn_plugin import cli; cli.mscn_parser().format_help()\n"
    code += "print(*{'torch', 'numpy', 'vissl', 'hydra', 'matplotlib'} & set(sys.modules))"
    assert run_python("-c", code).stdout.split() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evalute"], "invalid choice: 'evalute'; did you mean evaluate?"),
        (["draw", "mask"], "invalid choice: 'mask'; did you mean masks?"),
        (["evaluate", "run", "--suite", "fast"], "invalid choice: 'fast'; known are paper, quick"),
        (["summary", "run", "other"], "unrecognized arguments: other"),
    ],
)
def test_a_wrong_word_gets_the_nearest_one(script_signals, capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(message)


@pytest.mark.parametrize("error", [ConfigError("a.b is 1;\nit must be 2"), OSError("disk")])
def test_errors_that_a_user_can_act_on_are_one_line(script_signals, monkeypatch, error):
    def fail(options):
        raise error

    monkeypatch.setattr(cli.module_of("summary"), "run", fail)
    with pytest.raises(SystemExit, match=r"^mscn summary: (a.b is 1;; it must be 2|disk)$"):
        cli.main(["summary", "run"])


@pytest.mark.parametrize("command", ["train", "report"])
def test_a_missing_library_is_named(script_signals, monkeypatch, command):
    def fail(options):
        raise ModuleNotFoundError("No module named 'vissl'", name="vissl")

    monkeypatch.setattr(cli.module_of(command), "run", fail)
    message = f"^mscn {command}: vissl is not installed; mscn doctor shows what is missing$"
    with pytest.raises(SystemExit, match=message):
        cli.main([command, "run"])


def test_other_errors_keep_their_traceback(script_signals, monkeypatch):
    monkeypatch.setattr(cli.module_of("summary"), "run", lambda options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["summary", "run"])


@pytest.mark.new_interpreter
@pytest.mark.parametrize(("name", "command"), SCRIPTS.items())
def test_scripts_heed_signals_before_they_import_anything_heavy(tmp_path, name, command):
    """A signal in the second in which PyTorch is imported ends them as later ones do."""
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    for module in ("torch", "numpy", "matplotlib", "tabulate"):  # whichever comes first
        (tmp_path / f"{module}.py").write_text(kill)
    (tmp_path / "train_config.yaml").touch()
    arguments = ARGUMENTS.get(command, [tmp_path])
    script = FOLDER / f"{name}.py"
    result = run_python(script, *arguments, check=False, env={"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 75
    stopped = f"{name}: stopped by SIGTERM; to resume, start the same command again\n"
    assert result.stderr == stopped


@pytest.mark.parametrize("command", ["experiments", "pack", "statistics"])
def test_as_many_jobs_as_cores_that_may_be_used(monkeypatch, command):
    """``srun -c`` and ``taskset`` leave a process some of the machine's."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 8}, raising=False)
    parser = argparse.ArgumentParser()
    cli.module_of(command).add_arguments(parser)
    assert parser.get_default("jobs") == 3
