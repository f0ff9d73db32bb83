"""Files are complete or not there, and no link leads their writer out of the folder."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from mscn_plugin import files
from mscn_plugin.checkpoints.complete import staged
from mscn_plugin.checkpoints.io import save_checkpoint
from mscn_plugin.data.train_subset import write_lists
from mscn_plugin.export.staging import staged as exported
from mscn_plugin.files import (
    open_new,
    remove_abandoned,
    replacing,
    save_json,
    user_path,
    write_text,
)


def open_and_write(path):
    with open_new(path) as stream:
        stream.write("new")


def export_to(path):
    with exported(path.parent) as folder:
        (folder / path.name).write_text("new")


def subset_to(path):
    write_lists(path.parent, "train_subset", torch.zeros(1).numpy(), torch.zeros(1).numpy())


WRITERS = {
    "report.html": lambda path: write_text(path, "new"),
    "results.json": lambda path: save_json(path, ["new"]),
    "target.torch": lambda path: save_checkpoint({"new": torch.ones(1)}, path),
    "curves.png": lambda path: files.save_figure(Figure(), path),
    "console.txt": open_and_write,
    "model_card.md": export_to,
    "train_subset_images.npy": subset_to,
}


@pytest.mark.parametrize(
    ("name", "files_of"),
    [
        ("a.png", ["a.pdf", "a.png"]),
        ("a.PDF", ["a.pdf", "a.png"]),
        ("a1.25", ["a1.25.pdf", "a1.25.png"]),
        ("a.1.png", ["a.1.pdf", "a.1.png"]),
    ],
)
def test_what_follows_a_dot_is_a_part_of_a_figures_name(tmp_path, name, files_of):
    files.save_figure(Figure(), tmp_path / name, ".png", ".pdf")
    assert sorted(path.name for path in tmp_path.iterdir()) == files_of


@pytest.mark.parametrize("name", WRITERS)
def test_links_in_a_folder_are_replaced_and_not_followed(tmp_path, name):
    """Those under the file's name, and under all names that a file has had while it is written."""
    victim, folder = tmp_path / "victim", tmp_path / "downloaded"
    victim.write_text("precious")
    folder.mkdir()
    stem = name.rpartition(".")[0]
    for link in (name, f"{name}.tmp", f".{name}.tmp", f"{stem}.tmp", f"{files.STAGING}link"):
        (folder / link).symlink_to(victim)
    WRITERS[name](folder / name)
    assert victim.read_text() == "precious"
    assert (folder / name).is_file()
    assert not (folder / name).is_symlink()


def test_a_checkpoints_link_is_made_beside_others(tmp_path):
    (tmp_path / "victim").write_text("precious")
    for link in ("checkpoint.torch", f"{files.STAGING}link", "model_phase0.torch"):
        (tmp_path / link).symlink_to("victim")
    with staged(tmp_path) as folder:
        torch.save({"iteration": 1}, folder / "model_phase0.torch")
    assert (tmp_path / "victim").read_text() == "precious"
    assert os.readlink(tmp_path / "checkpoint.torch") == "model_phase0.torch"


def test_a_name_is_never_the_same(tmp_path):
    names = set()
    for _ in range(3):
        with replacing(tmp_path / "a.json") as file:
            names.add(file.name)
            assert file.parent == tmp_path
            assert file.suffix == ".json"
    assert len(names) == 3
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_the_umasks(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a", "")
        open_new(tmp_path / "b").close()
        with exported(tmp_path) as folder:
            (folder / "c").touch()
    finally:
        os.umask(before)
    for name in "abc":
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path, error):
    def fail():
        with replacing(tmp_path / "a") as file:
            file.write_text("half")
            raise error

    (tmp_path / "a").write_text("before")
    with pytest.raises(error):
        fail()
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "before"


def test_an_error_names_the_file_that_was_wanted(tmp_path):
    with pytest.raises(FileNotFoundError, match="none/a.json'"):
        save_json(tmp_path / "none" / "a.json", {})


def test_content_is_on_the_disk_before_its_name(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda d: (steps.append("sync"), fsync(d)))
    monkeypatch.setattr(os, "replace", lambda *a: (steps.append("rename"), replace(*a)))
    write_text(tmp_path / "a", "text")
    assert steps == ["sync", "rename", "sync"]


def test_a_tilde_is_the_users_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert user_path("~/runs/a") == Path("/home/somebody/runs/a")
    assert user_path("runs/~a") == Path("runs/~a")


@pytest.mark.process
@pytest.mark.new_interpreter
def test_only_what_killed_writers_left_is_removed(tmp_path):
    (tmp_path / "kept").touch()
    os.mkfifo(tmp_path / f"{files.STAGING}pipe")
    program = (
        "import os, signal, sys; from pathlib import Path; from mscn_plugin.files import *\n"
        "one = replacing(Path('a')); one.__enter__(); two = staging_folder(Path('.'))\n"
        "(two.__enter__() / 'b').touch(); print('ready', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        remove_abandoned(tmp_path)
        assert len(list(tmp_path.glob(f"{files.STAGING}*"))) == 2
        writer.kill()
    remove_abandoned(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
