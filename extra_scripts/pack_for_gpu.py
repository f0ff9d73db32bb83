"""Pack what a GPU machine without a network lacks, to run the GPU checks there.

    python extra_scripts/pack_for_gpu.py pack

Such a machine has PyTorch, torchvision, NumPy, SciPy, scikit-image, scikit-learn, OpenCV and
tqdm; the pack holds VISSL and the packages around it as wheels for Linux, at most 40 MiB. Carry
it there with this checkout; the line to run is printed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINNED = ("vissl", "classy-vision", "hydra-core", "omegaconf", "fvcore", "iopath", "kornia")
PINNED += ("parameterized", "submitit", "tabulate")
BENEATH = ("antlr4-python3-runtime==4.9.3", "cloudpickle", "portalocker", "setuptools<81")
BENEATH += ("termcolor", "yacs")
"""What the pinned ones import beyond PyTorch and NumPy."""
FILES = ("libraries", "vissl", "classy-vision", "benchmarks")
"""Of requirements/, which hold the versions."""
COMPILED = ("kornia_rs",)
"""Wheels that are made for one Python and processor."""
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 17)] + ["manylinux2014_x86_64"]
UNWANTED = {
    "vissl": "classy_vision/",  # a copy, older than the release that is in the pack
    "classy_vision": r"test/|classy_vision-[^/]*\.data/",  # "pip --target" takes it for the package
}
"""Files that stand in another's way, by wheel."""
MOST = 40 * 2**20


def main() -> None:
    try:
        pack()
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"pack_for_gpu: {error}")


def pack() -> None:
    """Gather the wheels and print the next steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="is made; wheels of an earlier pack are replaced")
    parser.add_argument("--python", default="3.12", help="of that machine")
    options = parser.parse_args()
    folder = options.folder.expanduser()
    shutil.rmtree(folder / "wheels", ignore_errors=True)
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    versions = pins()
    wanted = [f"{name}=={versions[name]}" for name in PINNED] + list(BENEATH)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(wheels), *wanted], check=True)
    compiled = [f"{name}=={versions[name]}" for name in COMPILED]
    there = [f"--python-version={options.python}", *(f"--platform={p}" for p in PLATFORMS)]
    binary = ["--only-binary=:all:", "--implementation=cp", *there]
    subprocess.run(
        [*pip, "download", "--no-deps", "-d", str(wheels), *binary, *compiled], check=True
    )
    for name, unwanted in UNWANTED.items():
        (wheel,) = wheels.glob(f"{name}-*.whl")
        without(wheel, unwanted)
    size = sum(wheel.stat().st_size for wheel in wheels.iterdir())
    if size > MOST:
        sys.exit(f"pack_for_gpu: the pack has {size / 2**20:.0f} MiB; at most 40 are meant to be")
    print(f"{len(wanted) + len(compiled)} wheels, {size / 2**20:.1f} MiB: {wheels}")
    print("Carry this checkout and the pack, and run in the checkout:\n")
    print(run_line(folder))


def pins() -> dict[str, str]:
    """Versions by package, those that the tests run with."""
    lines = "\n".join((ROOT / "requirements" / f"{name}.txt").read_text() for name in FILES)
    return dict(re.findall(r"^([\w-]+)==([\w.+]+)", lines, re.MULTILINE))


def without(wheel: Path, unwanted: str) -> None:
    """Take the files whose names match ``unwanted`` out of a wheel."""
    slim = wheel.with_suffix(".slim")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(slim, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith(".dist-info/RECORD"):
                rows = content.decode().splitlines(keepends=True)
                content = "".join(r for r in rows if not re.match(unwanted, r)).encode()
            if not re.match(unwanted, name):
                new.writestr(name, content)
    slim.replace(wheel)


def run_line(folder: Path) -> str:
    site = folder / "site"
    return (
        f"python3 -m pip install --no-index --no-deps --upgrade --target {site} "
        f"{folder}/wheels/*.whl && PYTHONPATH={site}:. python3 -m benchmarks.gpu --device cuda"
    )


if __name__ == "__main__":
    main()
