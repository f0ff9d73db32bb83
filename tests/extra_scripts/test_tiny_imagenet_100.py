from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script():
    return runpy.run_path(str(ROOT / "extra_scripts" / "tiny_imagenet_100.py"))


@pytest.fixture
def make(script, tmp_path):
    """The script with a draw of two classes."""
    draw = tmp_path / "draw.txt"
    draw.write_text("n01 4 1\nn03 0 2\n")
    script["make"].__globals__["DRAW"] = draw
    return script["make"]


@pytest.fixture
def tiny_imagenet(tmp_path):
    """Tiny ImageNet's layout with three classes; what is in a file says which picture it is."""
    root = tmp_path / "tiny-imagenet-200"
    for name in ("n01", "n02", "n03"):
        (root / "train" / name / "images").mkdir(parents=True)
        for number in range(5):
            picture = f"{name}_{number}.JPEG"
            (root / "train" / name / "images" / picture).write_text(picture)
    (root / "val" / "images").mkdir(parents=True)
    lines = []
    for number, name in enumerate(("n03", "n02", "n01", "n03")):
        (root / "val" / "images" / f"val_{number}.JPEG").write_text(f"val_{number}.JPEG")
        lines.append(f"val_{number}.JPEG\t{name}\t{number}\t0\t62\t63")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return root


def test_the_list_draws_half_of_the_pictures_of_a_hundred_classes(script):
    lines = [line.split() for line in script["DRAW"].read_text().splitlines()]
    assert len({name for name, *_ in lines}) == len(lines) == 100
    for _, *numbers in lines:
        assert len(set(numbers)) == 250
        assert {*map(int, numbers)} <= {*range(500)}


def test_drawn_pictures_train_and_all_of_their_classes_validate(make, tiny_imagenet, tmp_path):
    target = tmp_path / "hundred"
    make(tiny_imagenet, target)
    pictures = [file for file in target.rglob("*.JPEG") if file.read_text() == file.name]
    assert sorted(str(file.relative_to(target)) for file in pictures) == [
        "train/n01/n01_1.JPEG",
        "train/n01/n01_4.JPEG",
        "train/n03/n03_0.JPEG",
        "train/n03/n03_2.JPEG",
        "val/n01/val_2.JPEG",
        "val/n03/val_0.JPEG",
        "val/n03/val_3.JPEG",
    ]
    assert (target / "val_boxes.tsv").read_text() == (
        "val/n03/val_0.JPEG\t0\t0\t62\t63\n"
        "val/n01/val_2.JPEG\t2\t0\t62\t63\n"
        "val/n03/val_3.JPEG\t3\t0\t62\t63\n"
    )
    with pytest.raises(FileExistsError, match="hundred is there already"):
        make(tiny_imagenet, target)


def test_what_is_not_tiny_imagenet_leaves_no_folder(make, tiny_imagenet, tmp_path):
    (tiny_imagenet / "val" / "val_annotations.txt").unlink()
    with pytest.raises(FileNotFoundError, match="val_annotations.txt"):
        make(tiny_imagenet, tmp_path / "hundred")
    assert not (tmp_path / "hundred").exists()
