"""Show in one table what is installed, what the machine has, and what is missing for what.

The exit status is 0 if mscn can train and evaluate here, else 1. --fix prints the lines that
install what is missing: what is needed as commands, what is optional as comments.

examples:
    mscn doctor
    mscn doctor --fix | sh
"""

from __future__ import annotations

import argparse
import platform
import re
import shlex
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from mscn_plugin import __version__
from mscn_plugin.errors import ConfigError
from mscn_plugin.export.formats import LIBRARIES

# In this order: VISSL's metadata pins libraries of 2021, and its wheel holds a copy of Classy
# Vision that no longer imports, over the one that is there.
CLASSY_VISION = "classy-vision==0.7.0"
VISSL = {"vissl==0.1.6": "--no-deps", CLASSY_VISION: "--no-deps --force-reinstall"}
"""What our own requirements cannot name, and the options of pip for it."""
DETECTRON2 = "git+https://github.com/facebookresearch/detectron2.git"
OPTIONAL = {
    **{
        library: f"export {', '.join(f for f, needed in LIBRARIES.items() if library in needed)}"
        for library in dict.fromkeys(sum(LIBRARIES.values(), ()))
    },
    "detectron2": "detect, draw detections",
    "pycocotools": "detect",
    "pyarrow": "train, evaluate, pack, on Parquet files",
}
_SAME = {"opencv-python-headless": "opencv-python", "detectron2": "sal-detectron2"}
_LITTLE_SHARED_MEMORY = 2**30  # bytes; containers have 64 MiB by default


class Row(NamedTuple):
    """A row of the table, and the shell command that fixes what it shows.

    Attributes:
        missing: whether nothing works without it.
    """

    part: str
    found: str
    note: str = ""
    missing: bool = False
    fix: str = ""

    def line(self) -> str:
        """The line for the shell: it installs what is needed; everything else is a comment."""
        if self.missing and self.fix:
            return self.fix
        return f"# {self.note}: {self.fix}" if self.fix else f"# {self.part}: {self.found}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fix", action="store_true", help="print the lines that install what is missing"
    )


def run(options: argparse.Namespace) -> None:
    rows = [*libraries(), *optional_libraries()]
    missing = any(row.missing for row in rows)
    rows += [] if missing else machine()
    if options.fix:
        fixes = [row.line() for row in rows if row.missing or row.fix]
        print("\n".join(fixes) if fixes else "# nothing is missing")
    else:
        width = max(len(row.part) for row in rows)
        found = max(len(row.found) for row in rows if row.note)
        for row in rows:
            print(f"{row.part:<{width}}  {row.found:<{found}}  {row.note}".rstrip())
        unusable = any(row.missing for row in rows)
        print("\nnot usable: mscn doctor --fix prints what to do" if unusable else "\nusable")
    sys.exit(any(row.missing for row in rows))


def libraries() -> list[Row]:
    """Python, this package, and all that it needs."""
    rows = [Row("Python", platform.python_version()), Row("mscn-plugin", __version__)]
    own = dict.fromkeys((text for text in requirements() if "extra ==" not in text), "")
    for requirement, options in {**own, **VISSL}.items():
        name, found = version(requirement)
        good = satisfies(found, requirement)
        note = "" if good else f"needed: {requirement}"
        fix = "" if good else pip(requirement, options)
        rows.append(Row(name, found or "missing", note, not good, fix))
    vissl, classy_vision = rows[-2:]
    if vissl.missing and not classy_vision.missing:
        rows[-1] = classy_vision._replace(
            note="again, after VISSL", missing=True, fix=pip(CLASSY_VISION, VISSL[CLASSY_VISION])
        )
    return rows


def optional_libraries() -> list[Row]:
    """What some commands need."""
    rows = []
    for library, purpose in OPTIONAL.items():
        name, found = version(library)
        source = library == "detectron2"
        fix = pip(DETECTRON2, "--no-build-isolation") if source else pip(library)
        note = f"for mscn {purpose}"
        rows.append(Row(name, found or "missing", note, fix="" if found else fix))
    return rows


def machine() -> list[Row]:
    """GPUs, shared memory, compiler, and whether the package hooks into this VISSL."""
    import torch

    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    names = ", ".join(f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus)
    note = "" if gpus else "mscn/quickstart, and all configs with +mscn/machine=cpu, need none"
    rows = [Row("GPU", names or "none", note)]
    try:
        free = shutil.disk_usage("/dev/shm").free
        note = "" if free > _LITTLE_SHARED_MEMORY else "little: docker run --shm-size=8g"
        rows.append(Row("/dev/shm", f"{free / 2**30:.1f} GiB free", note))
    except OSError:
        rows.append(Row("/dev/shm", "none", "DATA.NUM_DATALOADER_WORKERS=0 trains without it"))
    compiler = shutil.which("g++")
    rows.append(Row("C++ compiler", compiler or "none", "for MSCN.COMPILE_TRUNK on a CPU"))
    error = state_of_vissl()
    copied = error is not None and "Kinetics400" in error  # VISSL's copy imports it
    fix = pip(CLASSY_VISION, VISSL[CLASSY_VISION]) if copied else ""
    rows.append(Row("VISSL", error or "takes this package", "", error is not None, fix))
    return rows


def state_of_vissl() -> str | None:
    """Why the package does not work with the VISSL that is installed, or None."""
    try:
        import mscn_plugin
        from mscn_plugin.vissl.compat import unknown_hook

        mscn_plugin.register()
        return unknown_hook()
    except Exception as error:  # its libraries of 2021 may raise anything
        return f"{type(error).__name__}: {error}"


def requirements() -> list[str]:
    """The package's requirements, from its metadata.

    Raises:
        ConfigError: it is imported from a folder, and not installed.
    """
    try:
        return metadata.requires("mscn-plugin") or []
    except metadata.PackageNotFoundError:
        folder = Path(__file__).parents[2]
        raise ConfigError(f"{folder} is not installed: {pip(str(folder))}") from None


def pip(requirement: str, options: str = "") -> str:
    """A line of a shell that installs for this Python, whose environment need not be active."""
    found, folder = shutil.which("pip"), Path(sys.executable).parent
    program = (
        "pip" if found and Path(found).parent == folder else f"{shlex.quote(sys.executable)} -m pip"
    )
    return " ".join(filter(None, (program, "install", options, shlex.quote(requirement))))


def version(requirement: str) -> tuple[str, str | None]:
    """The name in a requirement, and which version of it is installed, if any."""
    name = re.split(r"[<>=!~;\s\[]", requirement, maxsplit=1)[0]
    for distribution in (name, _SAME.get(name, name)):
        try:
            return name, metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return name, None


def satisfies(found: str | None, requirement: str) -> bool:
    """Whether a version satisfies a requirement of ours: at least, below, or exactly."""
    if found is None:
        return False
    bounds = re.findall(r"(>=|<|==)\s*([\d.]+)", requirement)
    compared = {">=": lambda a, b: a >= b, "<": lambda a, b: a < b, "==": lambda a, b: a == b}
    return all(compared[sign](_numbers(found), _numbers(bound)) for sign, bound in bounds)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text.partition("+")[0])[:3]]
