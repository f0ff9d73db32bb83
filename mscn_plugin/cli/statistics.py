"""Measure mean, standard deviation and range of each channel of a folder of arrays.

Arrays are .npy, .npz, TIFF and PNG files, read as with config.MSCN.CHANNELS. Of a folder with
train/ and val/ the training images are measured. statistics.json in the folder is what Normalize
with "mean: null, std: null" takes its values from. Files that cannot be read are named and counted.

examples:
    mscn statistics /data/bands --channels 13
    mscn statistics /data/cells --channels 2 --layout channels_last --output cells.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mscn_plugin.cli.arguments import add_jobs
from mscn_plugin.errors import ConfigError
from mscn_plugin.files import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=user_path, help="of arrays")
    parser.add_argument("--channels", type=int, required=True, help="of each array, from 1 to 64")
    parser.add_argument(
        "--layout",
        choices=("auto", "channels_first", "channels_last"),
        default="auto",
        help="of arrays of three dimensions, where both fit (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=user_path,
        metavar="FILE",
        help="in place of statistics.json in the folder; config.MSCN.STATISTICS names it",
    )
    add_jobs(parser, "processes")


def run(options: argparse.Namespace) -> None:
    from mscn_plugin.data.arrays import MAX_CHANNELS, ArrayFormat
    from mscn_plugin.data.statistics import FILE, measure
    from mscn_plugin.files import save_json, staging_folder

    if not 1 <= options.channels <= MAX_CHANNELS:
        raise ConfigError(f"--channels is {options.channels}; it must be from 1 to {MAX_CHANNELS}")
    output: Path = options.output or options.folder / FILE
    if output.is_dir():
        raise ConfigError(f"--output {output} is a folder; it must be a file")
    if options.output or options.folder.is_dir():
        try:
            with staging_folder(output.parent):
                pass
        except OSError as error:  # before all images are measured, which can take hours
            raise ConfigError(
                f"{output} cannot be written ({error.strerror}); name another file by --output"
            ) from None
    form = ArrayFormat(options.channels, options.layout)
    statistics = measure(str(options.folder), form, options.jobs)
    save_json(output, statistics)
    unreadable = statistics["unreadable"]
    for text in unreadable["first"]:
        print(f"unreadable: {text}")
    if unreadable["number"]:
        print(f"{unreadable['number']} unreadable in all")
    types = ", ".join(f"{number} {name}" for name, number in statistics["types"].items())
    print(f"{statistics['images']} images ({types}), {statistics['pixels']} pixels per channel")
    if len(statistics["types"]) > 1:
        print("files of several types: are their values of one unit? None is scaled")
    print(f"{'channel':>7} {'mean':>12} {'std':>12} {'min':>12} {'max':>12}")
    columns = zip(*(statistics[name] for name in ("mean", "std", "min", "max")))
    for channel, values in enumerate(columns):
        print(f"{channel:>7} " + " ".join(f"{value:12.6g}" for value in values))
    print(output.resolve())
