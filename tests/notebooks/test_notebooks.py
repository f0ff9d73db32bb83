"""The notebooks run, and what is kept in them is what a run prints and draws, and no more."""

from __future__ import annotations

import itertools
import json
import re
import runpy
from pathlib import Path

import nbformat
import pytest

SCRIPT = Path(__file__).parents[2] / "notebooks" / "execute.py"
NOTEBOOKS = sorted(SCRIPT.parent.glob("*.ipynb"))
MACHINE = re.compile(r"/tmp/|/home/|/root/|/work/|/Users/|site-packages")
by_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def kinds_of(cell):
    """What a cell shows, text in one piece: a kernel sends it in as many as it likes."""
    kinds = (sorted(output.get("data", {"text": ""})) for output in cell.outputs)
    return [kind for kind, _ in itertools.groupby(kinds)]


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def text_of(output):
    data = output.get("data", {})
    return "".join([output.get("text", ""), *(str(data.get(k, "")) for k in ("text/plain",))])


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ["method", "quickstart"]


@by_notebook
def test_outputs_are_kept_without_errors_and_without_this_machine(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < 1_000_000
    cells = code_cells(path)
    outputs = [output for cell in cells for output in cell.outputs]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(
        output.output_type in ("stream", "display_data", "execute_result") for output in outputs
    )
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert not MACHINE.search("\n".join(map(text_of, outputs)))
    assert not MACHINE.search("\n".join(cell.source for cell in notebook.cells))
    pictures = [
        output for output in outputs if {"image/png", "image/jpeg"} & set(output.get("data", {}))
    ]
    assert len(pictures) >= 3
    assert notebook.metadata.kernelspec.name == "python3"


FEWER = {
    '("train", 40), ("val", 12)': '("train", 12), ("val", 4)',
    "BATCHSIZE_PER_REPLICA=40": "BATCHSIZE_PER_REPLICA=12",
}
"""What makes the training of the quickstart one of seconds, beside its epochs."""


@pytest.mark.process
@by_notebook
def test_it_runs_and_prints_as_much_as_is_kept(path, tmp_path, monkeypatch):
    text = path.read_text()
    for written, instead in FEWER.items() if path.stem == "quickstart" else ():
        written, instead = (json.dumps(words)[1:-1] for words in (written, instead))
        assert written in text
        text = text.replace(written, instead)
    (tmp_path / path.name).write_text(text)
    startup = tmp_path / "ipython" / "profile_default" / "startup" / "inline.ipy"
    startup.parent.mkdir(parents=True)
    startup.write_text("%matplotlib inline\n")  # imported before the kernel could name its backend
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MSCN_NOTEBOOK_EPOCHS", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    executed = runpy.run_path(str(SCRIPT))["executed"](tmp_path / path.name, tmp_path)
    now = [cell for cell in executed.cells if cell.cell_type == "code"]
    for cell, kept in zip(now, code_cells(path), strict=True):
        assert kinds_of(cell) == kinds_of(kept)
