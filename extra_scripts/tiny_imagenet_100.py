"""Make the data of docs/results.md: a hundred classes of Tiny ImageNet, 250 pictures of each.

    curl -O http://cs231n.stanford.edu/tiny-imagenet-200.zip && unzip -q tiny-imagenet-200.zip
    python extra_scripts/tiny_imagenet_100.py tiny-imagenet-200 tiny-imagenet-100

Which pictures were drawn says docs/results/tiny_imagenet_100.txt: a class and its pictures' numbers
in each line. The validation pictures are all official ones of these classes, with the boxes of
their objects in val_boxes.tsv.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

DRAW = Path(__file__).resolve().parents[1] / "docs" / "results" / "tiny_imagenet_100.txt"
ANNOTATIONS = "val/val_annotations.txt"
BOXES = "val_boxes.tsv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="tiny-imagenet-200, unpacked")
    parser.add_argument("target", type=Path, help="a new folder")
    options = parser.parse_args()
    try:
        make(options.source.expanduser(), options.target.expanduser())
    except OSError as error:
        sys.exit(f"tiny_imagenet_100: {error}")


def make(source: Path, target: Path) -> None:
    """Copy the pictures into ``target``, which appears when all are there.

    Raises:
        OSError: ``target`` is there, or something in ``source`` is not.
    """
    if target.exists():
        raise FileExistsError(f"{target} is there already; name a new folder")
    staging = target.with_name(f"{target.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    classes = {name: numbers for name, *numbers in map(str.split, DRAW.read_text().splitlines())}
    for name, numbers in classes.items():
        folder = staging / "train" / name
        folder.mkdir(parents=True)
        (staging / "val" / name).mkdir(parents=True)
        for number in numbers:
            shutil.copyfile(
                source / "train" / name / "images" / f"{name}_{number}.JPEG",
                folder / f"{name}_{number}.JPEG",
            )
    boxes = []
    for line in (source / ANNOTATIONS).read_text().splitlines():
        file, name, *box = line.split()
        if name in classes:
            picture = f"val/{name}/{file}"
            shutil.copyfile(source / "val" / "images" / file, staging / picture)
            boxes.append("\t".join([picture, *box]))
    (staging / BOXES).write_text("\n".join(boxes) + "\n")
    staging.rename(target)
    print(target.resolve())


if __name__ == "__main__":
    main()
