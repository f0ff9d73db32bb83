"""Make the file lists of a part of an image folder's labels, for any VISSL configuration.

    python extra_scripts/make_subset.py /data/imagenet/train 0.01 --output lists/1percent
    python extra_scripts/make_subset.py /data/imagenet/train 1percent.txt --output lists/1percent

Pages of ``mscn/benchmark`` need no list: ``config.MSCN.TRAIN_SUBSET=0.01`` makes it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mscn_plugin.data.train_subset import train_subset, write_subset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="one sub-folder of images per class")
    parser.add_argument("subset", help="a fraction of each class, or a text file that lists images")
    parser.add_argument("--output", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="of a fraction")
    options = parser.parse_args()
    try:
        subset = float(options.subset)
    except ValueError:
        subset = options.subset
    if not options.folder.is_dir():
        sys.exit(f"make_subset: {options.folder} is not a folder")
    try:
        paths, labels = train_subset(options.folder.resolve(), subset, options.seed)
        images, classes = write_subset(options.output.resolve(), paths, labels)
    except (ValueError, OSError) as error:
        sys.exit(f"make_subset: {str(error).replace('TRAIN_SUBSET', 'subset')}")
    print(f"{len(paths)} images of {len(set(labels.tolist()))} classes; for VISSL:")
    print("config.DATA.TRAIN.DATA_SOURCES=[disk_filelist]")
    print("config.DATA.TRAIN.LABEL_SOURCES=[disk_filelist]")
    print(f"config.DATA.TRAIN.DATA_PATHS=[{images}]")
    print(f"config.DATA.TRAIN.LABEL_PATHS=[{classes}]")


if __name__ == "__main__":
    main()
