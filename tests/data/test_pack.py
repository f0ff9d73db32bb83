"""Packing: the same images, and what webdataset itself reads of them."""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from mscn_plugin.data import pack as packing
from mscn_plugin.data.decoding import UnreadableImageError, reading, to_rgb
from mscn_plugin.data.pack import Settings, member_key, pack, packed_image
from mscn_plugin.data.sources import SOURCES, contents_of, find_splits, measured_images
from mscn_plugin.errors import ConfigError

COPIED = Settings(images_per_shard=10)


def content_of(pixels, kind, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


@pytest.fixture
def odd_folder(tmp_path):
    """Pictures of every kind that decoding has a rule for, and names that need care."""
    random = np.random.RandomState(0)
    color = random.randint(0, 256, (24, 40, 3), np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    files = {
        "a/turned.JPEG": content_of(color, "JPEG", exif=turned()),
        "a/profile.jpg": content_of(color, "JPEG", icc_profile=profile),
        "a/same.png": content_of(color, "PNG"),
        "a/same.jpg": content_of(color, "JPEG"),
        "a/dots.in.the.name.png": content_of(color, "PNG"),
        "b/deep.png": content_of(random.randint(0, 65536, (24, 40)).astype(np.uint16), "PNG"),
        "b/alpha.png": content_of(random.randint(0, 256, (24, 40, 4), np.uint8), "PNG"),
        "b/x%2Ey.gif": content_of(color[..., 0], "GIF"),
        "b/damaged.jpg": content_of(color, "JPEG")[:200],
        "b/none.png": b"",
        os.fsdecode(b"b/\xff.png"): content_of(color, "PNG"),
    }
    for name, content in files.items():
        path = tmp_path / "odd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "odd"


def images_of(data):
    splits = find_splits(str(data), "KEY")
    return SOURCES[splits.source], contents_of(splits)


def test_a_pack_is_the_folder(odd_folder, tmp_path):
    lines = pack(str(odd_folder), tmp_path / "out", Settings(images_per_shard=4))
    assert lines[0] == "images: 9 copied; 2 unreadable, kept as such"
    assert lines[1] == f"unreadable: {odd_folder}/b/damaged.jpg, {odd_folder}/b/none.png"
    again = pack(str(odd_folder), tmp_path / "out", Settings(images_per_shard=4))
    assert again == ["images: 11 packed by an earlier start", lines[2]]
    source, packed = images_of(tmp_path / "out")
    _, folder = images_of(odd_folder)
    assert source.name == "tar_shards"
    assert (packed.classes, packed.labels().tolist()) == (folder.classes, folder.labels().tolist())
    readable = 0
    for (path, label), (original, same_label) in zip(packed.images, folder.images):
        assert (path[len(packed.folder) :], label) == (original[len(folder.folder) :], same_label)
        assert source.content(packed.folder, path) == Path(original).read_bytes()
        try:
            pixels = to_rgb(Image.open(original))
        except OSError:
            continue
        readable += 1
        assert to_rgb(source.open(packed.folder, path)).tobytes() == pixels.tobytes()
    assert readable == 9


def test_what_cannot_be_opened_is_unreadable_in_a_pack_as_in_the_folder(
    odd_folder, tmp_path, monkeypatch
):
    (odd_folder / "a" / "dangling.jpg").symlink_to("nowhere.jpg")
    (odd_folder / "a" / "round.jpg").symlink_to("round.jpg")
    lines = pack(str(odd_folder), tmp_path / "out", COPIED)
    assert lines[0] == "images: 9 copied; 4 unreadable, kept as such"
    assert lines[1].startswith(f"unreadable: {odd_folder}/a/dangling.jpg, ")
    for data in (odd_folder, tmp_path / "out"):
        source, found = images_of(data)
        links = [p for p, _ in found.images if p.endswith(("dangling.jpg", "round.jpg"))]
        assert len(links) == 2
        for path in links:
            with pytest.raises(UnreadableImageError), reading(path):
                source.open(found.folder, path)

    def failing(*_):
        raise OSError(errno.EIO, "the disk")

    monkeypatch.setattr(SOURCES["disk_folder"], "content", failing)
    with pytest.raises(OSError, match="the disk"):  # which may pass, and the pack goes on then
        pack(str(odd_folder), tmp_path / "other", COPIED)


def test_webdataset_reads_a_pack(image_folder, odd_folder, tmp_path):
    import webdataset

    pack(str(image_folder), tmp_path / "out", COPIED)
    shards = str(tmp_path / "out" / "train" / "{000000..000003}.tar")
    read = webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("png", "cls")
    _, folder = images_of(image_folder)
    samples = list(read)
    assert [label for _, label in samples] == folder.labels().tolist()
    for (image, _), (path, _) in zip(samples, folder.images):
        assert image.convert("RGB").tobytes() == Image.open(path).convert("RGB").tobytes()
    # One sample a picture, also where names have dots or differ in their endings alone.
    pack(str(odd_folder), tmp_path / "odd_out", COPIED)
    (shard, rest) = sorted((tmp_path / "odd_out").glob("*.tar"))
    read = webdataset.WebDataset([str(shard), str(rest)], shardshuffle=False)
    samples = list(read)
    assert len(samples) == len({sample["__key__"] for sample in samples}) == 11
    assert all(len([k for k in s if not k.startswith("__")]) == 2 for s in samples)


def test_larger_images_are_made_smaller_and_upright():
    gradient = np.linspace(0, 255, 400 * 1000 * 3).astype(np.uint8).reshape(400, 1000, 3)
    content = content_of(gradient, "JPEG", exif=turned())
    small, ending, what = packed_image(content, Settings(short_side=100))
    picture = Image.open(io.BytesIO(small))
    assert (picture.size, ending, what) == ((100, 250), "jpg", "encoded")
    assert not picture.getexif()
    wanted = to_rgb(Image.open(io.BytesIO(content))).resize((100, 250), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(picture).astype(int) - np.asarray(wanted)).mean() < 2
    assert packed_image(content, Settings(short_side=0)) == (content, "", "copied")
    assert packed_image(content, Settings(short_side=400)) == (content, "", "copied")
    again, _, what = packed_image(content, Settings(short_side=400, reencode=True))
    assert (Image.open(io.BytesIO(again)).size, what) == ((400, 1000), "encoded")
    deep = content_of(np.zeros((400, 500), np.uint16), "PNG")
    ppm = b"P6 500 400 4095\n" + bytes(2 * 3 * 400 * 500)
    for file in (deep, ppm):
        assert packed_image(file, Settings(short_side=100)) == (file, "", "deep")
    # Damaged ones are counted, however small, but where nothing is decoded.
    for cut, short_side in ((content, 100), (content, 400), (deep, 100)):
        cut = cut[: len(cut) // 2]
        assert packed_image(cut, Settings(short_side=short_side)) == (cut, "", "unreadable")
        assert packed_image(cut, Settings(short_side=0)) == (cut, "", "copied")
    strip = content_of(np.zeros((17, 70000), np.uint8), "PNG")
    assert packed_image(strip, Settings(short_side=16)) == (strip, "", "long")  # 65882 pixels
    assert packed_image(strip, Settings(short_side=0, reencode=True))[2] == "long"
    words = packing.Packed(copied=2, encoded=1, deep=3, long=1).in_words()
    assert words.endswith(
        "2 copied; 3 of more than 8 bits a channel, copied; 1 longer than the 65500 pixels of a "
        "JPEG, copied"
    )


def test_members_of_an_image_have_one_key_and_no_other_has_it():
    assert member_key("a.b/x.JPEG", False) == "a.b/x"
    names = ["x.jpg", "x.png", "x.jpg.png", "x%2Ejpg", "x%2Ejpg.png"]
    assert len({member_key(name, True) for name in names}) == len(names)
    assert all("." not in member_key(name, True) for name in names)


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("stop", [0, 2, 4])
def test_an_interrupted_pack_goes_on(image_folder, tmp_path, monkeypatch, stop):
    """Stopped before the first shard, after two, or with all of train and nothing of val."""
    pack(str(image_folder), tmp_path / "unbroken", COPIED, processes=2)
    write, calls = packing._write_shard, []

    def stopping(job):
        if len(calls) == stop:
            (job.shard.parent / ".staging-left").write_bytes(b"half a shard")
            raise SystemExit(130)
        calls.append(job.shard)
        return write(job)

    monkeypatch.setattr(packing, "_write_shard", stopping)
    out = tmp_path / "out"
    with pytest.raises(SystemExit):
        pack(str(image_folder), out, COPIED)
    with pytest.raises(ConfigError, match="which belongs to the unfinished pack .*out: start"):
        find_splits(str(out), "KEY")
    monkeypatch.setattr(packing, "_write_shard", write)
    kept = [(shard, shard.stat().st_ino) for shard in calls]
    said = pack(str(image_folder), out, COPIED)[0]
    assert ("packed by an earlier start" in said) == bool(stop)
    assert [(shard, shard.stat().st_ino) for shard in calls] == kept
    assert tree(out) == tree(tmp_path / "unbroken")
    assert json.loads((out / "pack.json").read_text())["complete"]
    # Finished, it is left as it is.
    before = {path: path.stat().st_ino for path in out.rglob("*.tar")}
    assert pack(str(image_folder), out, COPIED)[0] == "images: 44 packed by an earlier start"
    assert {path: path.stat().st_ino for path in out.rglob("*.tar")} == before


def test_a_half_written_shard_is_written_again(image_folder, tmp_path):
    out = tmp_path / "out"
    pack(str(image_folder), out, COPIED)
    whole = tree(out)
    shard = out / "val" / "000000.tar"
    (out / "val" / "index.mscn").unlink()
    shard.write_bytes(shard.read_bytes()[:1000])
    pack(str(image_folder), out, COPIED)
    assert tree(out) == whole


def test_what_cannot_be_packed_is_refused(image_folder, tmp_path):
    out = tmp_path / "out"
    pack(str(image_folder / "val"), out, COPIED)
    for data, output, settings, message in (
        (
            image_folder / "val",
            out,
            Settings(quality=50),
            "holds a pack of quality 92, not 50",
        ),
        (image_folder / "train", out, COPIED, "holds a pack of other images"),
        (image_folder, tmp_path, COPIED, "holds other files: name a folder that is new"),
        (image_folder, image_folder / "packed", COPIED, "is in .*images, which is to be packed"),
        (tmp_path / "none", out, COPIED, "the folder is '.*none', which is not a folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            pack(str(data), output, settings)
    (out / "pack.json").write_text("{")
    with pytest.raises(ConfigError, match=r"pack.json is damaged: put the file back"):
        pack(str(image_folder / "val"), out, COPIED)
    for option, wrong in (
        ("--quality", {"quality": 0}),
        ("--quality", {"quality": 101}),
        ("--short-side", {"short_side": -1}),
        ("--short-side", {"short_side": 1}),
        ("--images-per-shard", {"images_per_shard": 0}),
    ):
        with pytest.raises(ConfigError, match=f"{option} is {next(iter(wrong.values()))}; it must"):
            Settings(**wrong)


def test_the_pack_of_a_pattern_may_lie_beside_its_files(image_folder, tmp_path):
    pack(str(image_folder / "val"), tmp_path / "shards", COPIED)
    for name in ("index.mscn", "pack.json"):
        (tmp_path / "shards" / name).unlink()
    (tmp_path / "shards" / "._000000.tar").write_bytes(b"\0\5\26\7")
    lines = pack(f"{tmp_path}/shards/0*.tar", tmp_path / "shards" / "packed", COPIED)
    assert lines[0] == "images: 12 copied"
    with pytest.raises(ConfigError, match="is in .*shards, which is to be packed"):
        pack(f"{tmp_path}/shards", tmp_path / "shards" / "again", COPIED)


def test_hidden_twins_of_what_is_written_are_left_out(image_folder, tmp_path, monkeypatch):
    """macOS writes ``._x`` beside each file on a disk of another system."""
    write = packing._write_shard

    def with_twin(job):
        job.shard.with_name(f"._{job.shard.name}").write_bytes(b"\0\5\26\7")
        return write(job)

    monkeypatch.setattr(packing, "_write_shard", with_twin)
    (_, packed) = pack(str(image_folder / "val"), tmp_path / "out", COPIED)
    assert "12 images in 2 shards" in packed


@pytest.mark.parametrize("command", ["pack", "statistics"])
def test_no_processes_are_refused(command, mscn, image_folder, tmp_path, capsys):
    with pytest.raises(SystemExit):
        mscn(command, image_folder, *([tmp_path / "out"] if command == "pack" else []), "--jobs", 0)
    assert "argument --jobs: 0 is below 1" in capsys.readouterr().err


def test_names_that_are_no_text_are_printed(tmp_path, mscn, capsys):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / os.fsdecode(b"\xe9.jpg")).write_bytes(b"damaged")
    mscn("pack", folder, tmp_path / os.fsdecode(b"\xe8"), "--jobs", 1)
    said = capsys.readouterr().out
    assert f"unreadable: {tmp_path}/caf\\xe9/\\xe9.jpg" in said
    assert f"{tmp_path}/\\udce8: 1 images" in said


def test_the_command_keeps_splits_and_class_names(image_folder, tmp_path, mscn, capsys):
    mscn("pack", image_folder, tmp_path / "out", "--images-per-shard", 20, "--jobs", 2)
    said = capsys.readouterr().out
    assert "images: 44 copied" in said
    assert f"{tmp_path}/out/train: 32 images in 2 shards" in said
    words = measured_images(str(tmp_path / "out"), "KEY")
    assert words == measured_images(str(image_folder), "KEY").replace(
        str(image_folder), str(tmp_path / "out")
    )
    # What is packed can be packed again.
    mscn("pack", tmp_path / "out", tmp_path / "again", "--images-per-shard", 20)
    for split in ("train", "val"):
        first, second = (tree(tmp_path / name / split) for name in ("out", "again"))
        assert first == second
    with tarfile.open(tmp_path / "out" / "val" / "000000.tar") as tar:
        assert tar.getnames()[:2] == ["class0/0.png", "class0/0.cls"]
