"""Parquet files of images, as Hugging Face's datasets writes them."""

from __future__ import annotations

import functools
import io
import json

import numpy as np
import pytest
from PIL import Image

from mscn_plugin.data import packed, parquet
from mscn_plugin.data.pack import Settings, pack
from mscn_plugin.data.sources import contents_of, find_splits, open_listed
from mscn_plugin.errors import ConfigError, RunError

arrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")


def picture(level):
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write(path, images, labels=None, names=None, image="image", label="label"):
    """As ``datasets`` does: small row groups, and the classes' names beside the schema."""
    from pyarrow import parquet as files

    columns = {image: images}
    if labels is not None:
        columns[label] = labels
    table = arrow.table(columns)
    if names:
        features = {"info": {"features": {label: {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_table(table, path, row_group_size=3)
    return path


def rows(first, last):
    return [{"bytes": picture(n), "path": f"{n}.png"} for n in range(first, last)]


def taken(data):
    splits = find_splits(str(data), "KEY")
    return splits, contents_of(splits)


def test_files_whose_numbers_mean_other_classes_are_refused(tmp_path):
    for number, names in enumerate((["cat", "dog"], None, ["cat", "dog"], ["dog", "cat"])):
        write(tmp_path / f"train-{number}.parquet", rows(number, number + 1), [0], names)
    message = (
        "holds files of other classes: 0 is 'cat' in train-0.parquet, and 'dog' in "
        "train-3.parquet; they must have"
    )
    with pytest.raises(ConfigError, match=message):
        taken(tmp_path / "train-*.parquet")
    write(tmp_path / "train-3.parquet", rows(3, 4), [0], ["cat", "dog", "eel"])
    with pytest.raises(ConfigError, match="2 is None in train-0.parquet, and 'eel' in train-3"):
        taken(tmp_path / "train-*.parquet")


@pytest.fixture
def hugging(tmp_path):
    names = ["ant", "bee", "cat"]
    for number in range(2):
        path = tmp_path / "x" / "data" / f"train-0000{number}-of-00002.parquet"
        write(path, rows(7 * number, 7 * number + 7), [0, 1] * 3 + [0], names)
    write(tmp_path / "x/data/validation-00000-of-00001.parquet", rows(20, 24), [0, 1, 1, 0], names)
    write(tmp_path / "x/data/test-00000-of-00001.parquet", rows(30, 32), [-1, -1], names)
    (tmp_path / "x" / "README.md").touch()
    return tmp_path / "x"


def test_a_data_set_of_hugging_face(hugging):
    splits, found = taken(hugging)
    assert splits.source == "parquet"
    assert splits.val == hugging / "data" / "*validation*.parquet"
    assert list(splits.unused) == ["test"]
    assert found.classes == ["ant", "bee", "cat"]  # also those that have no image
    assert len(found.images) == 14
    for place in (0, 13, 3, 6, 7, 2):
        path, label = found.images[place]
        assert path.endswith(f".parquet/{place}.png")
        assert label == place % 7 % 2
        assert open_listed(path).getpixel((0, 0)) == (place, place, place)


def test_other_columns_and_no_names(tmp_path):
    data = write(tmp_path / "a.parquet", [picture(1), picture(2)], ["x", "y"], image="img")
    _, found = taken(data)
    assert [path for path, _ in found.images] == [f"{data}/a/0000000{n}" for n in range(2)]
    assert found.classes == ["x", "y"]
    nameless = [{"bytes": picture(n), "path": None} for n in range(2)]
    _, found = taken(write(tmp_path / "b.parquet", nameless))
    assert not found.labeled
    assert open_listed(found.images[1][0]).getpixel((0, 0)) == (1, 1, 1)
    lacking = [{"bytes": picture(0), "path": "a.png"}, None]
    _, found = taken(write(tmp_path / "null.parquet", lacking))
    assert len(found.images) == 2
    with pytest.raises(OSError, match="cannot identify"):  # unreadable, and not the end of a run
        open_listed(found.images[1][0])
    _, found = taken(write(tmp_path / "c.parquet", nameless, [4, 9], label="fine_label"))
    assert found.classes == ["4", "9"]


def test_what_cannot_be_used_is_refused(tmp_path, monkeypatch):
    whole = write(tmp_path / "a.parquet", rows(0, 4), [0, 1, 0, 1])
    write(tmp_path / "b.parquet", ["text"], [1], image="text")
    write(tmp_path / "c.parquet", rows(0, 2), [0.5, 1.0])
    (tmp_path / "d.parquet").write_bytes(whole.read_bytes()[:-100])
    labels = write(tmp_path / "e.parquet", rows(0, 4), [0, 1, 0, 1])
    columns = arrow.parquet.ParquetFile(labels).metadata.row_group(0)
    content = bytearray(labels.read_bytes())
    start = columns.column(columns.num_columns - 1).data_page_offset
    content[start : start + 16] = b"\xff" * 16
    labels.write_bytes(content)
    for name, message in (
        ("b", r"which has no column of images, {bytes, path}: text, label"),
        ("c", "whose column 'label' is neither number nor word"),
        ("d", "which is damaged or truncated: "),
        ("e", "names .*e.parquet, which is damaged or truncated: "),
    ):
        with pytest.raises(ConfigError, match=message):
            taken(tmp_path / f"{name}.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="which needs pyarrow: pip install pyarrow"):
        taken(whole)


@pytest.mark.parametrize("what", ["missing", "truncated", "changed"])
def test_a_file_that_changes_in_mid_run_stops_it(tmp_path, what):
    path = write(tmp_path / "a.parquet", rows(0, 9), [0, 1, 2] * 3)
    _, found = taken(path)
    assert open_listed(found.images[0][0]).size == (8, 8)
    if what == "missing":
        path.unlink()
    elif what == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        write(path, rows(100, 109), [0, 1, 2] * 3)
    for _ in range(2):  # also of what has been read before
        with pytest.raises(RunError, match=r"a.parquet is missing or has changed since"):
            open_listed(found.images[0][0])


def test_few_files_and_row_groups_are_kept(tmp_path, monkeypatch):
    files = []

    @functools.lru_cache(maxsize=2)
    def opened(path):
        files.append(parquet._File(path))
        return files[-1]

    assert parquet._file.cache_info().maxsize == 16
    monkeypatch.setattr(parquet, "_file", opened)
    for number in range(4):
        write(tmp_path / "x" / f"{number}.parquet", rows(9 * number, 9 * number + 9))
    _, found = taken(tmp_path / "x")
    for place in (0, 35, 1, 20, 10, 8, 0):
        assert open_listed(found.images[place][0]).getpixel((0, 0)) == (place,) * 3
    assert all(len(file.groups) <= parquet._KEPT_GROUPS for file in files)


def test_it_can_be_packed(hugging, tmp_path):
    pack(str(hugging), tmp_path / "out", Settings())
    (_, found), (_, original) = taken(tmp_path / "out"), taken(hugging)
    assert found.classes == original.classes
    for (path, label), (same, same_label) in zip(found.images, original.images):
        assert label == same_label
        assert open_listed(path).tobytes() == open_listed(same).tobytes()
    assert packed.root_of(str(tmp_path / "out" / "train"))[0].name == "tar_shards"
