"""Make the file lists of a label subset of an image folder, for any VISSL configuration.

Configs of mscn/benchmark need no list: config.MSCN.TRAIN_SUBSET=0.01 makes it.

examples:
    mscn subset /data/imagenet/train 0.01 --output lists/1percent
    mscn subset /data/imagenet/train 1percent.txt --output lists/1percent
"""

from __future__ import annotations

import argparse
import shlex

from mscn_plugin.config.hydra_overrides import hydra_override
from mscn_plugin.errors import ConfigError
from mscn_plugin.files import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        type=user_path,
        help="one sub-folder of images per class, or packed images; of a data set, train/ is taken",
    )
    parser.add_argument("subset", help="a fraction of each class, or a text file that lists images")
    parser.add_argument("--output", type=user_path, required=True, help="the folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="for drawing a fraction")


def run(options: argparse.Namespace) -> None:
    from mscn_plugin.data.sources import SOURCES, contents_of, find_splits
    from mscn_plugin.data.train_subset import TRAIN_SUBSET, train_subset, write_lists

    try:
        subset = float(options.subset)
    except ValueError:
        subset = options.subset
    if not any(source.exists(str(options.folder)) for source in SOURCES.values()):
        raise ConfigError(f"{options.folder} is not a folder")
    splits = find_splits(str(options.folder.resolve()), "the folder")
    found = contents_of(splits)
    if not found.labeled:
        unlabeled = SOURCES[splits.source].unlabeled
        raise ConfigError(f"{options.folder} {unlabeled}, so there are no labels to choose from")
    try:
        paths, labels = train_subset(found, subset, options.seed)
    except ValueError as error:
        raise ConfigError(str(error).replace("TRAIN_SUBSET", "subset")) from None
    images, classes = write_lists(options.output.resolve(), TRAIN_SUBSET, paths, labels)
    print(f"{len(paths)} of {found.in_words()}; for VISSL:")
    for key, value in (
        ("DATA_SOURCES", "disk_filelist"),
        ("LABEL_SOURCES", "disk_filelist"),
        ("DATA_PATHS", images),
        ("LABEL_PATHS", classes),
    ):
        print(shlex.quote(hydra_override(f"config.DATA.TRAIN.{key}", [value])))
