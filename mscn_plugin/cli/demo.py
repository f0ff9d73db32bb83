"""Pre-train on real photographs in minutes on a CPU, and write a report of it.

The config mscn/quickstart: a small ResNet on photographs that ship with scikit-image and
scikit-learn. Finished runs are skipped, interrupted ones resumed.

examples:
    mscn demo
    mscn demo OPTIMIZER.num_epochs=4 --output runs/short
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mscn_plugin.cli.arguments import add_settings
from mscn_plugin.cli.train import train
from mscn_plugin.config.hydra_overrides import full_override, hydra_override
from mscn_plugin.files import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument(
        "--output",
        type=user_path,
        default=Path("runs/mscn_quickstart"),
        help="the run's folder (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> None:
    import mscn_plugin
    from mscn_plugin.report.page import FILE_NAME, write_report
    from mscn_plugin.vissl.tool import shown

    # A setting may name another folder than --output.
    folder = train(
        [
            "config=mscn/quickstart",
            hydra_override("config.CHECKPOINT.DIR", options.output),
            "config.MSCN.PROGRESS_BAR=True",
            *map(full_override, options.settings),
        ],
        title="Pre-training on real photographs",
    )
    page, checkpoint = folder / FILE_NAME, folder / "checkpoint.torch"
    if not page.is_file() or page.stat().st_mtime < checkpoint.stat().st_mtime:
        mscn_plugin.register()
        print(write_report(folder).resolve())
    print(f"To read in a browser: {shown(page)}")
