"""Make the file lists of a part of an image folder's labels, for any VISSL configuration.

    python extra_scripts/make_subset.py /data/imagenet/train 0.01 --output lists/1percent
    python extra_scripts/make_subset.py /data/imagenet/train 1percent.txt --output lists/1percent

Pages of ``mscn/benchmark`` need no list: ``config.MSCN.TRAIN_SUBSET=0.01`` makes it.
"""

from __future__ import annotations

import argparse
import shlex
import sys

from mscn_plugin.training.signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # first: the imports below take seconds

from mscn_plugin.checkpoints.run_folder import user_path
from mscn_plugin.config.hydra_overrides import hydra_override
from mscn_plugin.data.image_folder import contents, split_folders
from mscn_plugin.data.train_subset import train_subset, write_lists


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder",
        type=user_path,
        help="one sub-folder of images per class; of a data set, train/ is taken",
    )
    parser.add_argument("subset", help="a fraction of each class, or a text file that lists images")
    parser.add_argument("--output", type=user_path, required=True, help="the folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="of a fraction")
    options = parser.parse_args()
    try:
        subset = float(options.subset)
    except ValueError:
        subset = options.subset
    folder = options.folder.expanduser()
    if not folder.is_dir():
        sys.exit(f"make_subset: {folder} is not a folder")
    try:
        found = contents(split_folders(folder.resolve()).train)
        if not found.labelled:
            raise ValueError(f"{folder} has no two sub-folders of images, of whose labels to take")
        paths, labels = train_subset(found, subset, options.seed)
        images, classes = write_lists(options.output.resolve(), "train_subset", paths, labels)
    except (ValueError, OSError) as error:
        sys.exit(f"make_subset: {str(error).replace('TRAIN_SUBSET', 'subset')}")
    print(f"{len(paths)} of {found.in_words()}; for VISSL:")
    for key, value in (
        ("DATA_SOURCES", "disk_filelist"),
        ("LABEL_SOURCES", "disk_filelist"),
        ("DATA_PATHS", images),
        ("LABEL_PATHS", classes),
    ):
        print(shlex.quote(hydra_override(f"config.DATA.TRAIN.{key}", [value])))


if __name__ == "__main__":
    main()
