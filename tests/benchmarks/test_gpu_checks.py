"""``python -m benchmarks.gpu``, whose figures docs/gpu.md holds, in small on a CPU."""

from __future__ import annotations

import importlib
import json

import pytest
import torch
from conftest import run_python

from benchmarks.gpu.__main__ import ROOT, STEPS, absolute, failed


@pytest.mark.parametrize("name", STEPS)
def test_every_step_is_there(name):
    module, function = name.split(".")
    assert callable(getattr(importlib.import_module(f"benchmarks.gpu.{module}"), function))


def test_a_failed_check_is_told_from_one_that_the_time_did_not_allow():
    steps = {"a": {"state": "done", "rows": [{"passed": True}, {"error": "no kornia"}]}}
    assert not failed({**steps, "b": {"state": "ended", "rows": []}})
    assert failed({**steps, "b": {"state": "failed", "rows": []}})
    assert failed({**steps, "b": {"state": "done", "rows": [{"passed": False}]}})


def test_a_carried_pack_is_found_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("site:.:/elsewhere") == f"{tmp_path}/site:{tmp_path}:/elsewhere"


@pytest.mark.process
def test_every_step_runs_on_a_cpu_in_small_and_writes_elsewhere(python, tmp_path):
    pages = {name: (ROOT / "docs" / name).read_bytes() for name in ("gpu.json", "gpu.md")}
    arguments = ["--device", "cpu", "--minutes", "14", "--output", tmp_path]
    command = ("-W", "ignore", "-m", "benchmarks.gpu", *arguments)
    said = run_python(*command, cwd=ROOT, timeout=880).stdout  # a busy machine's, compiling
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert results["device"] == "cpu"
    assert set(results["steps"]) == set(STEPS)
    for name, step in results["steps"].items():
        assert step["state"] == "done", (name, said)
        assert step["rows"], name
        wrong = [row for row in step["rows"] if row.get("passed") is False or "error" in row]
        assert not [row for row in wrong if "kornia" not in row["name"]], said
    assert "checks hold" in (tmp_path / "gpu.md").read_text()
    assert {name: (ROOT / "docs" / name).read_bytes() for name in pages} == pages


@pytest.mark.process
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(python, tmp_path):
    ended = run_python("-m", "benchmarks.gpu", "--output", tmp_path, cwd=ROOT, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("PyTorch sees no GPU here")
    assert not list(tmp_path.iterdir())
