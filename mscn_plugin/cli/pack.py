"""Pack images into a few large files, from which training reads faster than from a folder.

Writes shards in the format of WebDataset and an index of them. Names, order, labels, train/ and
val/ stay what they are; images whose shorter side is longer than --short-side are made smaller, the
others are copied byte for byte. config.MSCN.DATA takes the output as it takes the folder. The same
command resumes an interrupted one.

examples:
    mscn pack /data/imagenet /data/imagenet-288
    mscn pack /data/my_images packed --short-side 0 --jobs 4
"""

from __future__ import annotations

import argparse

from mscn_plugin.cli.arguments import add_jobs
from mscn_plugin.files import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=user_path, help="of images, of shards or of Parquet files, or a pattern"
    )
    parser.add_argument("output", type=user_path, help="the folder to make")
    parser.add_argument(
        "--short-side",
        type=int,
        default=288,
        metavar="PIXELS",
        help="of larger images after packing; 0: all are copied, undecoded (default: %(default)s)",
    )
    parser.add_argument(
        "--quality", type=int, default=92, help="of the JPEGs that are written, 1 to 100"
    )
    parser.add_argument(
        "--reencode", action="store_true", help="also images that could be copied, as JPEG"
    )
    parser.add_argument(
        "--images-per-shard", type=int, default=1000, metavar="N", help="default: %(default)s"
    )
    add_jobs(parser, "processes")


def run(options: argparse.Namespace) -> None:
    from mscn_plugin.data.pack import Settings, pack

    settings = Settings(
        options.short_side, options.quality, options.reencode, options.images_per_shard
    )
    for line in pack(str(options.folder), options.output, settings, options.jobs):
        print(line)
