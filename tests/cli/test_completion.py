"""Completion in the shell, as bash asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_the_line_is_for_the_shell(mscn, capsys):
    mscn("completion bash")
    assert capsys.readouterr().out == ('eval "$(register-python-argcomplete --shell bash mscn)"\n')
    mscn("completion zsh")
    assert "--shell zsh mscn" in capsys.readouterr().out


@pytest.mark.new_interpreter
@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("mscn eval", "evaluate"),
        ("mscn train mscn/quick", "mscn/quickstart"),
        ("mscn export --sig", "--sigma"),
    ],
)
def test_words_are_completed(tmp_path, line, word):
    result = tmp_path / "result"
    subprocess.run(
        [sys.executable, "-m", "mscn_plugin.cli"],
        env={
            **os.environ,
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(result),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        },
        check=True,
    )
    assert word in Path(result).read_text().split()
