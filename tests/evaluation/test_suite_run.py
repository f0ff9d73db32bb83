"""What a suite of evaluations reuses, and what its results keep."""

from __future__ import annotations

import shutil

import pytest

from mscn_plugin.evaluation import suite_run
from mscn_plugin.evaluation.definitions import SUITES
from mscn_plugin.evaluation.suites import Run


@pytest.fixture
def data(image_folder, tmp_path):
    return shutil.copytree(image_folder, tmp_path / "data")


@pytest.fixture
def suite(data, tmp_path, monkeypatch):
    """A suite of evaluations of one checkpoint, whose overrides are not composed."""
    monkeypatch.setattr(Run, "overrides", lambda self, config: [])
    checkpoint = tmp_path / "checkpoint.torch"
    checkpoint.write_bytes(b"weights")

    def make(*only, **settings):
        return suite_run.SuiteRun(
            Run(tmp_path, checkpoint, None, 0.0, None),
            "quick",
            suite_run.choose("quick", only),
            {"data": (str(data), "--data")},
            tmp_path / "evaluation",
            **settings,
        )

    return make


LINEAR = next(e for e in SUITES["quick"] if e.config == "quick_linear")


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_evaluation_of_images_that_changed_is_another(suite, data, split):
    before = suite().launch(LINEAR, "digest").output
    assert suite().launch(LINEAR, "digest").output == before
    (data / split / "class0" / "0.png").unlink()
    assert suite().launch(LINEAR, "digest").output != before


def test_images_that_suites_share_are_hashed_once(suite, monkeypatch):
    hashed = []
    monkeypatch.setattr(suite_run, "splits_digest", lambda splits: hashed.append(splits) or "")
    digests = {}
    for _ in range(2):
        of_run = suite(digests=digests)
        assert all(of_run.launch(e, "digest") for e in of_run.evaluations)
    assert len(hashed) == 1
