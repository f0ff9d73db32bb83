from __future__ import annotations

import errno
import os
import zipfile
import zlib
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mscn_plugin.checkpoints.complete import (
    load_complete,
    newest_checkpoint,
    refuse_damaged,
    staged,
)
from mscn_plugin.checkpoints.io import CheckpointError
from mscn_plugin.errors import ConfigError, RunError
from mscn_plugin.files import STAGING, remove_abandoned


def content(iteration: int, value: float = 1.0):
    weight = torch.full((50, 40), value)
    return {"iteration": iteration, "classy_state_dict": {"base_model": {"w": weight}}}


def write(folder, name, iteration, value=1.0):
    torch.save(content(iteration, value), folder / name)
    return folder / name


class TestStaged:
    def test_files_appear_whole_and_are_linked_relatively(self, tmp_path):
        with staged(tmp_path) as staging:
            write(staging, "model_phase0.torch", 4)
            os.symlink(staging / "model_phase0.torch", staging / "checkpoint.torch")  # VISSL's
            assert not (tmp_path / "model_phase0.torch").exists()
        assert sorted(p.name for p in tmp_path.iterdir()) == [
            "checkpoint.torch",
            "model_phase0.torch",
        ]
        assert os.readlink(tmp_path / "checkpoint.torch") == "model_phase0.torch"
        moved = tmp_path.rename(tmp_path.with_name("moved"))
        assert load_complete(moved / "checkpoint.torch")["iteration"] == 4

    def test_a_file_is_on_the_disk_before_its_name_and_the_name_before_it_counts(
        self, tmp_path, monkeypatch
    ):
        """A power cut between two steps must not leave a name without its content."""
        steps = []
        fsync, replace = os.fsync, os.replace

        def record_sync(descriptor):
            steps.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}").split("/")[-1]))
            fsync(descriptor)

        def record_rename(source, target):
            steps.append(("rename", os.path.basename(target)))
            replace(source, target)

        monkeypatch.setattr(os, "fsync", record_sync)
        monkeypatch.setattr(os, "replace", record_rename)
        with staged(tmp_path) as staging:
            write(staging, "model_phase0.torch", 4)
        assert steps == [
            ("sync", "model_phase0.torch"),
            ("rename", "model_phase0.torch"),
            ("rename", "checkpoint.torch"),
            ("sync", tmp_path.name),
        ]

    def test_without_a_file_nothing_changes(self, tmp_path):
        with staged(tmp_path):
            pass
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    def test_a_full_disk_is_one_sentence_and_leaves_nothing(self, tmp_path, number):
        def write_half():
            with staged(tmp_path) as staging:
                (staging / "model_phase1.torch").write_bytes(b"half")
                raise OSError(number, os.strerror(number))

        write(tmp_path, "model_phase0.torch", 4)
        with pytest.raises(RunError, match="CHECKPOINT.DIR is .* could not be written"):
            write_half()
        assert [p.name for p in tmp_path.iterdir()] == ["model_phase0.torch"]

    def test_a_full_disk_behind_pytorchs_writer_is_recognized(self, tmp_path):
        def write_by_pytorch():
            with staged(tmp_path):
                try:
                    raise OSError(errno.ENOSPC, "no space")
                finally:
                    raise RuntimeError("unexpected pos 64 vs 0")

        with pytest.raises(RunError, match="make room"):
            write_by_pytorch()

    def test_another_error_passes(self, tmp_path):
        with pytest.raises(RuntimeError, match="something else"), staged(tmp_path):
            raise RuntimeError("something else")

    def test_what_a_kill_left_is_removed(self, tmp_path):
        (tmp_path / f"{STAGING}abc").mkdir()
        write(tmp_path / f"{STAGING}abc", "model_phase0.torch", 4)
        write(tmp_path, "model_phase1.torch", 8)
        remove_abandoned(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["model_phase1.torch"]


class TestLoadWhole:
    @pytest.mark.parametrize("length", [0, 1, 30, 500, 5000])
    def test_a_truncated_file_is_damaged(self, tmp_path, length):
        file = write(tmp_path, "model_phase0.torch", 4)
        file.write_bytes(file.read_bytes()[:length])
        with pytest.raises(CheckpointError, match="damaged"):
            load_complete(file)

    @settings(max_examples=60, deadline=None)
    @given(position=st.integers(0, 2000 * 4 - 1), bit=st.integers(0, 7))
    def test_a_flipped_bit_of_a_weight_is_damaged(self, tmp_path_factory, position, bit):
        file = write(tmp_path_factory.mktemp("flip"), "model_phase0.torch", 4)
        whole = bytearray(file.read_bytes())
        start = whole.index(torch.full((50, 40), 1.0).numpy().tobytes())
        whole[start + position] ^= 1 << bit
        file.write_bytes(whole)
        with pytest.raises(CheckpointError, match="checksum"):
            load_complete(file)

    def test_any_damage_is_an_error_or_changes_nothing(self, tmp_path):
        """A flipped bit in every byte: of the weights, of the archive around them."""
        file = tmp_path / "model_phase0.torch"
        weights = {"w": torch.arange(20.0), "n": torch.arange(7), "lr": 0.1}
        torch.save({"iteration": 4, "classy_state_dict": weights}, file)
        whole, refused = file.read_bytes(), 0
        for position in range(len(whole)):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << (position % 8)
            file.write_bytes(damaged)
            try:
                loaded = load_complete(file)
            except CheckpointError:
                refused += 1
                continue
            state = loaded["classy_state_dict"]
            assert (loaded["iteration"], state["lr"]) == (4, 0.1)
            assert torch.equal(state["w"], weights["w"])
            assert torch.equal(state["n"], weights["n"])
        assert refused > len(whole) / 3

    @pytest.mark.parametrize("size", [1, 64, 512])
    def test_blocks_of_zeros_are_an_error_or_change_nothing(self, tmp_path, size):
        file = write(tmp_path, "model_phase0.torch", 4)
        whole = file.read_bytes()
        for start in range(0, len(whole), max(size, 97)):
            file.write_bytes(whole[:start] + bytes(size) + whole[start + size :])
            try:
                loaded = load_complete(file)
            except CheckpointError:
                continue
            assert loaded["iteration"] == 4
            weight = loaded["classy_state_dict"]["base_model"]["w"]
            assert torch.equal(weight, torch.full((50, 40), 1.0))

    @pytest.mark.parametrize(
        "error", [UnicodeDecodeError("utf-8", b"", 0, 1, ""), RuntimeError("x"), zlib.error("x")]
    )
    def test_whatever_the_library_for_archives_raises_is_damage(self, tmp_path, monkeypatch, error):
        def fail(self):
            raise error

        write(tmp_path, "model_phase0.torch", 4)
        monkeypatch.setattr(zipfile.ZipFile, "testzip", fail)
        assert newest_checkpoint(tmp_path) is None

    def test_pytorchs_old_format_has_no_checksums(self, tmp_path):
        file = tmp_path / "model_phase0.torch"
        torch.save(content(4), file, _use_new_zipfile_serialization=False)
        with pytest.raises(CheckpointError, match="without checksums"):
            load_complete(file)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_values_that_are_not_finite_are_damage(self, tmp_path, value):
        file = write(tmp_path, "model_phase0.torch", 4, value)
        with pytest.raises(CheckpointError, match=r"base_model\.w that are not finite"):
            load_complete(file)

    def test_a_file_without_an_iteration_is_no_checkpoint(self, tmp_path):
        torch.save({"weights": torch.ones(2)}, tmp_path / "model_phase0.torch")
        with pytest.raises(CheckpointError, match="no iteration"):
            load_complete(tmp_path / "model_phase0.torch")


class TestNewest:
    def test_is_the_one_with_most_iterations_of_any_kind(self, tmp_path):
        write(tmp_path, "model_phase9.torch", 40)
        write(tmp_path, "model_phase10.torch", 44)
        newest = write(tmp_path, "model_iteration46.torch", 46)
        assert newest_checkpoint(tmp_path) == newest

    def test_a_finished_epoch_is_further_than_its_last_iteration(self, tmp_path):
        write(tmp_path, "model_iteration44.torch", 44)
        newest = write(tmp_path, "model_phase10.torch", 44)
        assert newest_checkpoint(tmp_path) == newest

    def test_damaged_ones_are_named_and_passed_over(self, tmp_path, caplog):
        good = write(tmp_path, "model_phase0.torch", 4)
        write(tmp_path, "model_phase1.torch", 8, float("nan"))
        (tmp_path / "model_final_checkpoint_phase2.torch").write_bytes(b"")
        assert newest_checkpoint(tmp_path) == good
        assert "model_phase1.torch" in caplog.text
        assert "model_final_checkpoint_phase2.torch" in caplog.text

    def test_may_be_an_older_one_or_not_the_final_one(self, tmp_path):
        files = [write(tmp_path, f"model_phase{n}.torch", 4 * n) for n in range(3)]
        final = write(tmp_path, "model_final_checkpoint_phase3.torch", 12)
        assert newest_checkpoint(tmp_path) == final
        assert newest_checkpoint(tmp_path, skip_final=True) == files[2]
        assert newest_checkpoint(tmp_path, nth=3) == files[1]
        assert newest_checkpoint(tmp_path, nth=9) == files[0]

    def test_there_may_be_none(self, tmp_path):
        (tmp_path / "model_phase0.torch").write_text("no")
        assert newest_checkpoint(tmp_path) is None


class TestRefuseDamaged:
    """A run begins anew in an empty folder, and not over what may still be worth something."""

    SETTINGS = SimpleNamespace(AUTO_RESUME=True, OVERWRITE_EXISTING=False)

    def test_checkpoints_of_which_none_is_complete(self, tmp_path):
        for number in range(2):
            file = write(tmp_path, f"model_phase{number}.torch", 4)
            file.write_bytes(file.read_bytes()[:5000])
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(ConfigError, match="none of the checkpoints is complete .2 in all.*dam"):
            refuse_damaged(self.SETTINGS, tmp_path)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_one_that_is_complete_is_enough(self, tmp_path):
        (tmp_path / "model_phase1.torch").touch()
        write(tmp_path, "model_phase0.torch", 4)
        refuse_damaged(self.SETTINGS, tmp_path)

    @pytest.mark.parametrize(
        "settings",
        [
            SimpleNamespace(AUTO_RESUME=False, OVERWRITE_EXISTING=True),
            SimpleNamespace(AUTO_RESUME=True, OVERWRITE_EXISTING=True),
        ],
    )
    def test_one_that_is_not_wanted_may_be_damaged(self, tmp_path, settings):
        (tmp_path / "model_final_checkpoint_phase1.torch").touch()
        refuse_damaged(settings, tmp_path)

    def test_in_an_empty_folder_a_run_begins(self, tmp_path):
        refuse_damaged(self.SETTINGS, tmp_path)
        refuse_damaged(self.SETTINGS, tmp_path / "none")
