"""Shards, packed by us or by others, as ``MSCN.DATA`` takes them, and what may happen to them."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tarfile
import time

import numpy as np
import pytest
from PIL import Image

from mscn_plugin.data import packed
from mscn_plugin.data.index import opened
from mscn_plugin.data.pack import Settings, pack
from mscn_plugin.data.packed import TarSource, expand_braces
from mscn_plugin.data.sources import (
    contents_of,
    find_splits,
    measured_images,
    open_listed,
    size_listed,
)
from mscn_plugin.errors import ConfigError, RunError


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("MSCN_CACHE", str(tmp_path / "cache"))


def picture(level=0):
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def of_classes(path, labels, form="cls", start=0):
    """A shard with a picture for each label."""
    members = {}
    for place, label in enumerate(labels):
        members[f"{start + place:04d}.png"] = picture(place)
        told = str(label) if form == "cls" else json.dumps({"label": label, "more": [1]})
        members[f"{start + place:04d}.{form}"] = told.encode("utf-8-sig" if place else "utf-8")
    return write_tar(path, members)


def taken(data, channels=None):
    splits = find_splits(str(data), "KEY", channels)
    return splits, contents_of(splits)


@pytest.mark.parametrize("form", ["cls", "json"])
@pytest.mark.parametrize("labels", [(2, 0, 7), ("dog", "ant", "cat")])
def test_shards_of_others_have_their_labels(tmp_path, form, labels):
    of_classes(tmp_path / "x" / "0.tar", labels, form)
    of_classes(tmp_path / "x" / "1.tar", labels[:1], form, start=3)
    _, found = taken(tmp_path / "x")
    assert found.classes == [str(label) for label in sorted(labels)]
    told = [found.classes[label] for _, label in found.images]
    assert told == list(map(str, [*labels, labels[0]]))
    path, _ = found.images[3]
    assert path == f"{tmp_path}/x/0003.png"
    assert open_listed(path).getpixel((0, 0)) == (0, 0, 0)
    assert size_listed(path) == len(picture())
    assert (tmp_path / "x" / "index.mscn").is_file()


def test_images_without_labels_and_what_is_left_out(tmp_path):
    members = {"a/1.png": picture(), "a/1.seg.png": picture(), "a/1.txt": b"a dog"}
    members |= {"./b/2.jpg": picture(1), "b/2.png": picture(), "._c.png": b"", "b/2.json": b"[1"}
    _, found = taken(write_tar(tmp_path / "x.tar", members))
    assert [path for path, _ in found.images] == [
        f"{tmp_path}/x.tar/a/1.png",
        f"{tmp_path}/x.tar/b/2.jpg",
    ]
    assert not found.labeled
    repeated = "image of a key that has one, such as b/2.png"
    assert found.left_out == {".seg.png": 1, ".txt": 1, repeated: 1, "hidden file": 1}


def test_of_the_images_of_repeated_keys_the_first_are_named(tmp_path):
    for number in range(2):
        members = {f"{number}{key}.{kind}": picture() for key in "ab" for kind in ("jpg", "png")}
        write_tar(tmp_path / "x" / f"{number}.tar", members)
    _, found = taken(tmp_path / "x")
    assert found.left_out_in_words() == (
        "; left out: image of a key that has one, such as 0a.png, 0b.png, 1a.png (4)"
    )


@pytest.mark.parametrize(
    "content",
    [
        *("7", "0", '"a label of words"', '["label"]', "true", "null", "{}", '{"label": [1]}'),
        *('{"label": 1.5}', '{"label": true}', '{"label": null}', '{"label": Infinity}'),
    ],
)
def test_json_without_a_labels_key_has_none(tmp_path, content):
    members = {"1.png": picture(), "1.json": content.encode()}
    _, found = taken(write_tar(tmp_path / "x.tar", members))
    assert not found.classes
    members |= {"2.png": picture(), "2.json": b'{"label": 1}'}
    with pytest.raises(ConfigError, match=r"holds 1\.png without a label, and others with one"):
        taken(write_tar(tmp_path / "y.tar", members))


@pytest.mark.parametrize(
    ("content", "classes"),
    [
        ('{"label": 1.0}', ["1", "3"]),
        ('{"label": 1e0, "cls": 2}', ["1", "3"]),
        ('{"label": null, "cls": 2}', ["2", "3"]),
        ('{"label": null, "cls": null, "class": 0.0}', ["0", "3"]),
    ],
)
def test_json_has_labels_as_floats_and_below_later_keys(tmp_path, content, classes):
    members = {"1.png": picture(), "1.json": content.encode()}
    members |= {"2.png": picture(), "2.json": b'{"label": 3}'}
    _, found = taken(write_tar(tmp_path / "x.tar", members))
    assert found.classes == classes
    assert [label for _, label in found.images] == [0, 1]


def test_a_training_shard_is_no_validation_shard(tmp_path):
    of_classes(tmp_path / "train-0.tar", [0, 1])
    of_classes(tmp_path / "val-0.tar", [0, 1])
    assert measured_images(str(tmp_path), "--data").startswith("2 images of 2 classes")
    (tmp_path / "val-1.tar").symlink_to("train-0.tar")
    with pytest.raises(ConfigError, match=r"val-1\.tar is in .*, too: accuracies would be"):
        measured_images(str(tmp_path), "--data")


def test_names_that_return_in_each_shard_get_the_shards(tmp_path):
    for name in ("0.tar", "1.tar"):
        of_classes(tmp_path / "x" / name, (0, 1))
    _, found = taken(tmp_path / "x")
    names = [path[len(found.folder) + 1 :] for path, _ in found.images]
    assert names[0] == "0/00000000-0000.png"
    assert len(set(names)) == 4
    assert open_listed(found.images[3][0]).getpixel((0, 0)) == (1, 1, 1)


def test_what_a_pattern_stands_for():
    assert expand_braces("a-{008..011}.tar") == [f"a-{n:03d}.tar" for n in range(8, 12)]
    assert expand_braces("{1..2}/{a,b}.x") == ["1/a.x", "1/b.x", "2/a.x", "2/b.x"]
    assert expand_braces("{9..10}") == ["9", "10"]
    assert expand_braces("{0..11}") == [str(n) for n in range(12)]
    assert expand_braces("{0..00}") == ["00"]
    assert expand_braces("{9..011}") == ["009", "010", "011"]
    assert expand_braces("{2..0}") == ["0", "1", "2"]
    assert expand_braces("plain{}") == ["plain{}"]


def test_the_splits_of_shards(tmp_path):
    for name in ("train-000", "train-0001", "validation-000", "test-000"):
        of_classes(tmp_path / "flat" / f"x-{name}.tar", (0, 1), start=10 * len(name))
    for name in ("train/0", "val/0"):
        of_classes(tmp_path / "nested" / "data" / f"{name}.tar", (0, 1))
    of_classes(tmp_path / "plain" / "0.tar", (0, 1))
    of_classes(tmp_path / "wrong" / "val" / "0.tar", (0, 1))
    of_classes(tmp_path / "wrong" / "extra" / "0.tar", (0, 1))
    write_tar(tmp_path / "unlabeled" / "train-0.tar", {"1.png": picture(), "1.cls": b"0"})
    write_tar(tmp_path / "unlabeled" / "test-0.tar", {"1.png": picture()})
    for data, train, val, unused in (
        ("flat", "flat/*train*.tar", "flat/*validation*.tar", ["test"]),
        ("nested", "nested/data/train", "nested/data/val", []),
        ("plain", "plain", None, []),
        ("flat/x-train-*.tar", "flat/x-train-*.tar", None, []),
        ("flat/x-train-{000,0001}.tar", "flat/x-train-{000,0001}.tar", None, []),
        ("plain/0.tar", "plain/0.tar", None, []),
        ("unlabeled", "unlabeled/*train*.tar", None, ["test"]),
    ):
        splits, found = taken(tmp_path / data)
        assert (splits.train, splits.val) == (tmp_path / train, val and tmp_path / val)
        assert (list(splits.unused), splits.source) == (unused, "tar_shards")
        assert "for training" in splits.in_words()
        assert open_listed(found.images[-1][0]).size == (8, 8)
    for data, message in (
        ("flat/x-{train,test}-000.tar", r"names files of several splits \(test, train\)"),
        (
            "flat/x-train-{000..005}.tar",
            "names .*-001.tar, which is missing, and 4 more",
        ),
        ("wrong", "holds extra, val and no train|holds val and no train"),
    ):
        with pytest.raises(ConfigError, match=f"KEY is '.*', which {message}"):
            taken(tmp_path / data)
    with pytest.raises(ConfigError, match="is not a path: the files must be on a disk"):
        find_splits("https://x/{000..100}.tar", "KEY")


def test_archives_beside_images_leave_a_folder_what_it_is(image_folder, tmp_path):
    shutil.copytree(image_folder, tmp_path / "x")
    of_classes(tmp_path / "x" / "ILSVRC_train.tar", (0, 1))
    splits, found = taken(tmp_path / "x")
    assert (splits.source, len(found.images)) == ("disk_folder", 32)
    shutil.copytree(image_folder / "train" / "class0", tmp_path / "loose")
    of_classes(tmp_path / "loose" / "backup.tar", (0, 1))
    assert taken(tmp_path / "loose")[0].source == "disk_folder"
    of_classes(tmp_path / "preview" / "0.tar", (0, 1))
    (tmp_path / "preview" / "a.png").write_bytes(picture())
    assert taken(tmp_path / "preview")[0].source == "tar_shards"


@pytest.mark.parametrize(
    "files",
    [
        ["val/ILSVRC2012_img_val.tar"],
        ["train/class0.tar"],
        ["train/class0.tar", "val/class0.tar", "all.tar"],
        ["train/metadata.parquet"],
        ["test/images.tar"],
        ["backup/1.tar", "testing/1.tar"],
    ],
)
def test_archives_in_the_folders_of_splits_leave_them_what_they_are(image_folder, tmp_path, files):
    shutil.copytree(image_folder, tmp_path / "x")
    for name in files:
        of_classes(tmp_path / "x" / name, (0, 1))
    splits, found = taken(tmp_path / "x")
    assert (splits.source, splits.val) == ("disk_folder", tmp_path / "x" / "val")
    assert (found.folder, len(found.images)) == (f"{tmp_path}/x/train", 32)


def test_archives_that_are_not_unpacked_are_no_training_images(image_folder, tmp_path):
    shutil.copytree(image_folder / "train", tmp_path / "x" / "train")
    of_classes(tmp_path / "x" / "val" / "val.tar", (0, 1))
    splits, found = taken(tmp_path / "x")
    assert (splits.source, splits.val, len(found.images)) == ("disk_folder", None, 32)
    shutil.copytree(image_folder / "train", tmp_path / "classes")
    of_classes(tmp_path / "classes" / "test" / "backup.tar", (0, 1))
    assert taken(tmp_path / "classes")[0].source == "disk_folder"
    shutil.copytree(image_folder / "train" / "class0", tmp_path / "loose")
    of_classes(tmp_path / "loose" / "old" / "backup.tar", (0, 1))
    assert taken(tmp_path / "loose")[0].source == "disk_folder"


def test_shards_that_were_used_and_unpacked_are_a_folder_of_images(image_folder, tmp_path):
    of_classes(tmp_path / "x" / "images.tar", (0, 1))
    assert taken(tmp_path / "x")[0].source == "tar_shards"
    shutil.copytree(image_folder / "train", tmp_path / "x", dirs_exist_ok=True)
    splits, found = taken(tmp_path / "x")
    assert (splits.source, len(found.images)) == ("disk_folder", 32)


def test_archives_beside_arrays_leave_a_folder_what_it_is(tmp_path):
    for split in ("train", "val"):
        for name in "ab":
            (tmp_path / "x" / split / name).mkdir(parents=True)
            np.save(tmp_path / "x" / split / name / "0.npy", np.zeros((4, 8, 8), np.float32))
    of_classes(tmp_path / "x" / "bands.tar", (0, 1))
    of_classes(tmp_path / "x" / "val" / "val.tar", (0, 1))
    splits, found = taken(tmp_path / "x", channels=4)
    assert (splits.source, splits.val) == ("array_folder", tmp_path / "x" / "val")
    assert len(found.images) == 2
    of_classes(tmp_path / "y" / "0.tar", (0, 1))
    with pytest.raises(ConfigError, match="holds packed images; with config.MSCN.CHANNELS 4"):
        taken(tmp_path / "y", channels=4)


def test_shards_stay_shards_beside_few_images_and_the_archive_they_came_in(tmp_path, packed_folder):
    for name in ("train/0", "train/1", "val/0"):
        of_classes(tmp_path / "x" / f"{name}.tar", (0, 1), start=2 * int(name[-1]))
    write_tar(tmp_path / "x" / "all.tar", {"train/0.tar": b""})
    (tmp_path / "x" / "train" / "a.png").write_bytes(picture())
    (tmp_path / "x" / "examples").mkdir()
    (tmp_path / "x" / "examples" / "a.png").write_bytes(picture())
    splits, found = taken(tmp_path / "x")
    assert (splits.source, splits.train, len(found.images)) == (
        "tar_shards",
        tmp_path / "x" / "train",
        4,
    )
    assert splits.val == tmp_path / "x" / "val"
    for place in range(20):  # pack.json says what the folder is, whatever was put there later
        for folder in (packed_folder, packed_folder / "train"):
            (folder / f"{place}.png").write_bytes(picture())
    splits, found = taken(packed_folder)
    assert (splits.source, splits.val) == ("tar_shards", packed_folder / "val")
    assert len(found.images) == 32


def test_hidden_folders_in_a_shard_are_left_out(tmp_path):
    names = ("a/x.png", "a/.ipynb_checkpoints/x-checkpoint.png")
    write_tar(tmp_path / "x" / "0.tar", dict.fromkeys(names, picture()))
    _, found = taken(tmp_path / "x")
    assert (len(found.images), found.left_out) == (1, {"hidden file": 1})


def test_two_labels_of_one_key_are_refused(tmp_path):
    """Else the first picture would get the label of the second."""
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for level, label in ((10, b"1"), (20, b"0")):
            for name, content in (("0.png", picture(level)), ("0.cls", label)):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    with pytest.raises(ConfigError, match=r"0\.tar, which has two files 0\.cls: give each sample"):
        taken(tmp_path / "0.tar")


def test_hidden_twins_of_shards_are_left_out(tmp_path):
    """macOS leaves ``._x`` beside each file of a disk of another system."""
    for name in ("x-train-0", "x-val-0"):
        of_classes(tmp_path / "x" / f"{name}.tar", (0, 1))
        (tmp_path / "x" / f"._{name}.tar").write_bytes(b"\0\5\26\7" * 50)
    splits, found = taken(tmp_path / "x")
    assert (splits.val, len(found.images)) == (tmp_path / "x" / "*val*.tar", 2)
    assert len(taken(tmp_path / "x" / "*-train-*.tar")[1].images) == 2


def test_the_index_of_a_folder_that_cannot_be_written_lies_in_the_cache(
    tmp_path, monkeypatch, caplog
):
    of_classes(tmp_path / "x" / "0.tar", (0, 1))
    write = packed.write_index

    def refuse(path, *more, **options):
        if "cache" not in path:
            raise PermissionError(13, "Permission denied")
        write(path, *more, **options)

    monkeypatch.setattr(packed, "write_index", refuse)
    assert len(taken(tmp_path / "x")[1].images) == 2
    (index,) = (tmp_path / "cache").iterdir()
    before = index.stat().st_ino
    assert len(taken(tmp_path / "x")[1].images) == 2
    assert index.stat().st_ino == before
    # One of earlier files lies beside these, where it stays: that in the cache fits.
    shutil.copy(index, tmp_path / "x" / "index.mscn")
    os.utime(tmp_path / "x" / "0.tar", (1, 1))
    assert len(taken(tmp_path / "x")[1].images) == 2
    assert "has changed since" in caplog.text
    caplog.clear()
    before = index.stat().st_ino
    assert len(taken(tmp_path / "x")[1].images) == 2
    assert index.stat().st_ino == before
    assert not caplog.records


def test_shards_of_others_that_have_changed_are_listed_again(tmp_path, caplog):
    shard = of_classes(tmp_path / "x" / "0.tar", (0, 1))
    taken(tmp_path / "x")
    assert not caplog.records
    of_classes(shard, (0, 1, 2))
    assert len(taken(tmp_path / "x")[1].images) == 3
    assert "has changed since" in caplog.text
    of_classes(tmp_path / "x" / "1.tar", (3,), start=3)
    assert len(taken(tmp_path / "x")[1].images) == 4


def test_many_shards_are_listed_by_several_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "usable_cores", lambda: 2)
    for number in range(packed._PARALLEL):
        of_classes(tmp_path / "x" / f"{number:02d}.tar", (number % 3, 1), start=2 * number)
    names = [path for path, _ in taken(tmp_path / "x")[1].images]
    assert names == sorted(names)
    assert len(names) == 2 * packed._PARALLEL
    (tmp_path / "x" / "07.tar").write_bytes(b"no tar")
    (tmp_path / "x" / "index.mscn").unlink()
    with pytest.raises(ConfigError, match=r"07.tar, which is damaged or truncated"):
        taken(tmp_path / "x")


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize("keep", [100, 700, 1024, 1536, 3000])
def test_a_truncated_shard_of_others_is_refused(tmp_path, keep):
    """Within a header, within an image, between members, without the mark of the end."""
    cut(of_classes(tmp_path / "x" / "0.tar", (0, 1)), keep)
    with pytest.raises(ConfigError, match=r"x/0.tar, which is damaged or truncated: "):
        taken(tmp_path / "x")


def test_shards_that_cannot_be_used_are_refused(tmp_path):
    import gzip

    plain = of_classes(tmp_path / "a.tar", (0, 1)).read_bytes()
    (tmp_path / "b.tar").write_bytes(gzip.compress(plain))
    write_tar(tmp_path / "c.tar", {"1.txt": b""})
    write_tar(tmp_path / "d.tar", {"1.png": picture(), "1.cls": b"0", "2.png": picture()})
    of_classes(tmp_path / "e.tar", (0, "dog"))
    for name, message in (
        ("b", "which is compressed: .* it must be a plain tar"),
        ("c", r"holds no images \(.*\) in its files"),
        ("d", "holds 2.png without a label, and others with one"),
        ("e", "holds labels that are numbers, and others that are words"),
    ):
        with pytest.raises(ConfigError, match=message):
            taken(tmp_path / f"{name}.tar")


@pytest.fixture
def packed_folder(image_folder, tmp_path):
    pack(str(image_folder), tmp_path / "packed", Settings(images_per_shard=10))
    return tmp_path / "packed"


def change(shard):
    """One bit of one picture, in place."""
    content = bytearray(shard.read_bytes())
    content[2000] ^= 1
    with shard.open("r+b") as stream:
        stream.write(content)


def test_a_damaged_pack_is_refused_at_startup(packed_folder):
    shard = packed_folder / "train" / "000001.tar"
    whole = shard.read_bytes()
    for damage, message in (
        (lambda: cut(shard, 5000), "holds 000001.tar, truncated .*: it has 5000 bytes and not"),
        (lambda: shard.write_bytes(whole + bytes(512)), "holds 000001.tar, changed since"),
        (shard.unlink, r"lacks .*train/000001.tar, which the index .*index.mscn names"),
    ):
        damage()
        with pytest.raises(ConfigError, match=message):
            taken(packed_folder)
        shard.write_bytes(whole)
    # A copy has other times and is the same pack.
    os.utime(shard, (1, 1))
    assert len(taken(packed_folder)[1].images) == 32
    index = packed_folder / "train" / "index.mscn"
    index.write_bytes(index.read_bytes().replace(b'"version": 2', b'"version": 3'))
    with pytest.raises(ConfigError, match="of version 3, and this mscn-plugin reads version 2"):
        taken(packed_folder)
    (packed_folder / "pack.json").write_text('{"complete": tr')
    with pytest.raises(ConfigError, match=r"has .*pack.json, which is damaged: put the file back"):
        taken(packed_folder)


@pytest.mark.parametrize("by_others", [False, True])
@pytest.mark.parametrize("what", ["missing", "truncated", "changed", "replaced"])
def test_a_shard_that_changes_in_mid_run_stops_it(packed_folder, registered, by_others, what):
    from vissl.utils.hydra_config import AttrDict

    from mscn_plugin.data.readable_images import SourceImages

    train = packed_folder / "train"
    if by_others:
        (train / "index.mscn").unlink()
    config = AttrDict({"DATA": {"TRAIN": {"TRANSFORMS": []}}, "MSCN": {}})
    images = SourceImages(config, "tar_shards", str(train), "TRAIN", "packed")
    assert images[0][1]
    worker = pickle.loads(pickle.dumps(images))  # a loader's worker, which opens files anew
    shard = train / "000000.tar"
    time.sleep(0.01)
    if what == "missing":
        shard.unlink()
    elif what == "truncated":
        os.truncate(shard, 1000)
    else:
        if what == "replaced":
            shutil.copy(shard, train / "new")
            os.replace(train / "new", shard)
        change(shard)
    TarSource.close_files()
    for reader in (images, worker):
        with pytest.raises(RunError, match=r"000000.tar is missing or has changed since .*index"):
            reader[0]
    assert images[31][0].size == (64, 64)


def composed(compose, data, *more):
    config = compose(
        "config=mscn/quickstart",
        f"config.MSCN.DATA={data}",
        "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8",
        "config.MSCN.ONLINE_EVALUATION.NUM_NEIGHBORS=3",
        *more,
    )
    config.DATA.TRAIN.TRANSFORMS = config.DATA.TEST.TRANSFORMS = []
    return config


def test_a_dataset_of_shards_is_that_of_the_folder(packed_folder, image_folder, compose, caplog):
    """Samples, labels, unreadable images, fingerprint: the same; as a part and held out, too."""
    from mscn_plugin.data.readable_images import ReadableImagesDataset

    found = []
    for data in (image_folder, packed_folder):
        config = composed(compose, data)
        assert [find_splits(str(data), "KEY").source] == config.DATA.TRAIN.DATA_SOURCES
        samples = [
            [sample[key] for key in ("label", "data_idx", "data_valid")]
            + [sample["data"][0].tobytes()]
            for split in ("TRAIN", "TEST")
            for sample in map(ReadableImagesDataset(config, split).__getitem__, range(12))
        ]
        part = composed(compose, data, "config.MSCN.TRAIN_SUBSET=0.5")
        assert part.DATA.TRAIN.DATA_SOURCES == ["disk_filelist"]
        listed = ReadableImagesDataset(part, "TRAIN")
        samples += [listed[n]["data"][0].tobytes() for n in range(16)]
        samples += [listed[n]["label"] for n in range(16)]
        assert listed.path_of(3).startswith(str(data / "train" / "class0"))
        images = [config.MSCN.TRAINING_IMAGES, part.MSCN.TRAINING_IMAGES]
        found.append((samples, images))
    assert found[0] == found[1]


def test_the_lists_of_subset_read_shards(packed_folder, tmp_path, mscn, capsys):
    mscn("subset", packed_folder, "0.25", "--output", tmp_path / "lists")
    said = capsys.readouterr().out
    assert f"8 of 32 images of 4 classes in {packed_folder}/train; for VISSL:" in said
    paths = np.load(tmp_path / "lists" / "train_subset_images.npy")
    opened.clear()
    assert all(open_listed(str(path)).size == (64, 64) for path in paths)
    with pytest.raises(RunError, match="has no image 'class0/none.png'"):
        open_listed(f"{packed_folder}/train/class0/none.png")
    (tmp_path / "list.txt").write_text("\n".join(f"class{n}/3.png" for n in range(4)))
    mscn("subset", packed_folder, tmp_path / "list.txt", "--output", tmp_path / "listed")
    assert "4 of 32 images" in capsys.readouterr().out
