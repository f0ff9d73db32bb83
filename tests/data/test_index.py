"""Indices of many images, without one of them."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest

from mscn_plugin.data.image_folder import Contents
from mscn_plugin.data.index import Entries, Index, IndexedImages, Shard, opened, write_index
from mscn_plugin.errors import RunError

NUMBER = 20_000


@pytest.fixture
def path(tmp_path):
    names = [f"class{n % 10}/{n:07d}.jpg" for n in range(NUMBER)]
    numbers = np.arange(NUMBER)
    entries = Entries(names, numbers // 1000, numbers * 512, numbers + 1, numbers % 10)
    shards = [Shard(f"{n:06d}.tar", 10, n) for n in range(NUMBER // 1000)]
    more = {"classes": [f"class{n}" for n in range(10)], "left_out": {}, "fingerprint": {}}
    write_index(str(tmp_path / "index.mscn"), "tar_shards", shards, entries, **more)
    return str(tmp_path / "index.mscn")


def test_it_is_what_was_written(path):
    index = Index(path, "/data/x", "/data/x")
    images = IndexedImages(index)
    assert len(images) == NUMBER
    assert images[12_345] == ("/data/x/class5/0012345.jpg", 5)
    assert images[-1] == images[NUMBER - 1]
    assert images[3:5] == [images[3], images[4]]
    with pytest.raises(IndexError):
        images[NUMBER]
    assert index.shard_path(12_345) == "/data/x/000012.tar"
    assert index.row_of("class5/0012345.jpg") == 12_345
    assert all(index.row_of(index.name(row)) == row for row in range(0, NUMBER, 997))
    for name in ("class5/0012345", "class5/0012346.jpg", "", "zzz"):
        with pytest.raises(KeyError):
            index.row_of(name)


def test_an_open_index_holds_hardly_any_memory(path):
    """A list of the names alone would have 60 bytes an image; labels are one array."""
    tracemalloc.start()
    try:
        index = Index(path, "/data/x", "/data/x")
        found = Contents("/data/x", index.classes, IndexedImages(index), {})
        assert found.images[7][1] == 7
        assert [label for _, label in found.images[:2000]] == found.labels()[:2000].tolist()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 10 * NUMBER
    assert peak < 10 * NUMBER + 500_000
    assert len(pickle.dumps(found)) < 2_000


def test_a_worker_maps_the_file_that_the_run_began_with(path):
    index = Index(path, "/data/x", "/data/x")
    opened.pop("/data/x", None)
    sent = pickle.dumps(index)
    assert pickle.loads(sent).name(3) == index.name(3)
    assert opened.pop("/data/x").digest == index.digest
    entries = index.entries()
    more = {"classes": [], "left_out": {}, "fingerprint": {}}
    write_index(path, "tar_shards", index.shards, entries, **more)
    with pytest.raises(RunError, match=r"index.mscn has changed during the run"):
        pickle.loads(sent)
    assert index.name(3) == "class3/0000003.jpg"  # who has it open goes on with the old one


def test_any_byte_that_changed_is_damage(path, tmp_path):
    whole = (tmp_path / "index.mscn").read_bytes()
    header_ends = whole.index(b'"end": ')
    for place in (40, 60, header_ends // 2, *range(header_ends, len(whole), 997), len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        (tmp_path / "index.mscn").write_bytes(changed)
        with pytest.raises(ValueError, match=f"has the index {path}, which is (damaged|truncated)"):
            Index(path, "/data/x", "/data/x")


def test_what_is_no_index_of_this_version_says_so(path, tmp_path):
    whole = (tmp_path / "index.mscn").read_bytes()
    for content, message in (
        (whole.replace(b'"version": 2', b'"version": 9'), "of version 9, and this .* version 2"),
        (whole[:-64], "which is truncated"),
        (whole[:80], "which is damaged"),
        (b"x" * 100, "which is damaged or none"),
        (b"", "which is damaged or none"),
    ):
        (tmp_path / "index.mscn").write_bytes(content)
        with pytest.raises(ValueError, match=f"has the index {path}.*{message}.*: delete it"):
            Index(path, "/data/x", "/data/x")
