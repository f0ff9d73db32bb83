"""``python -m benchmarks.gpu.step <module>.<function> <device> <rows> <folder> <shared>``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from benchmarks.gpu.recorder import Recorder


def main() -> None:
    name, device, *paths = sys.argv[1:]
    module, function = name.split(".")
    recorder = Recorder(Path(paths[0]), device, *map(Path, paths[1:]))
    getattr(importlib.import_module(f"benchmarks.gpu.{module}"), function)(recorder)


if __name__ == "__main__":
    main()
