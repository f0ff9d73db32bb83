"""Image files as found in the wild: what can be read is trained on, the rest counted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.reliability.runs import Setting, finish, messages_of, output_of, write_images
from mscn_plugin.checkpoints.run_folder import json_lines

SIZE = 48
WITHOUT_PRIVILEGE = """
import ctypes, runpy
# A superuser reads what is closed, by CAP_DAC_OVERRIDE (1) and CAP_DAC_READ_SEARCH (2): given up.
libc, header, sets = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522), (ctypes.c_uint32 * 6)()
libc.capget(header, sets)
sets[0] &= ~(1 << 1 | 1 << 2)
libc.capset(header, sets)
runpy.run_module("tools.run_distributed_engines", run_name="__main__", alter_sys=True)
"""


def write_zoo(folder: Path) -> list[str]:
    """Fill ``folder`` with :data:`SIZE` images; returns the names of those that cannot be read."""
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    animals, rocks = folder / "animals", folder / "rocks"
    animals.mkdir(parents=True)

    picture.convert("CMYK").save(animals / "cmyk.jpg")
    picture.convert("P").save(animals / "palette.png")
    picture.convert("RGBA").save(animals / "rgba.png")
    picture.convert("LA").save(animals / "gray_and_alpha.png")
    picture.convert("1").save(animals / "one_bit.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(animals / "16_bit.png")
    Image.fromarray(pixels[..., 0].astype(np.float32)).save(animals / "float.tiff")
    Image.fromarray(pixels[:1, :1]).save(animals / "1x1.png")
    Image.fromarray(pixels[:1]).save(animals / "1_row.png")
    Image.new("RGB", (6000, 5000), (9, 99, 199)).save(animals / "large.png")
    picture.save(animals / "UPPER.JPG")
    picture.save(os.fsencode(animals) + b"/no_utf8_\xff\xfe.png", "PNG")
    (animals / "notes.txt").write_text("no image, and not taken for one")

    unreadable = ["empty.png", "text.jpg", "truncated.jpg", "truncated.png", "bomb.png"]
    unreadable += ["dangling.jpg", "closed.png"]
    (animals / "empty.png").write_bytes(b"")
    (animals / "text.jpg").write_text("This is not a picture.")
    for name in ("truncated.jpg", "truncated.png"):
        picture.save(animals / name)
        whole = (animals / name).read_bytes()
        (animals / name).write_bytes(whole[: len(whole) // 2])
    Image.new("1", (14000, 14000)).save(animals / "bomb.png")  # more pixels than Pillow accepts
    (animals / "dangling.jpg").symlink_to("nowhere.jpg")
    picture.save(animals / "closed.png")
    (animals / "closed.png").chmod(0)
    write_images(rocks / "closed", 2)
    taken = len([f for f in animals.iterdir() if f.suffix != ".txt"])
    for index in range(SIZE - taken):
        picture.rotate(7 * index).save(rocks / f"{index}.png")
    (rocks / "closed").chmod(0)
    return unreadable


def remove_zoo(folder: Path) -> None:
    """Remove what :func:`write_zoo` has written."""
    (folder / "rocks" / "closed").chmod(0o700)
    shutil.rmtree(folder)


def train_on_zoo(folder: Path, workers: int, share: float | None = None) -> dict[str, Any]:
    """Train on the zoo for three epochs; returns a row with what was counted.

    Args:
        share: ``MAX_UNREADABLE_SHARE``; where the zoo has more, the run has to stop.
    """
    unreadable = write_zoo(folder / "zoo")
    run = folder / "run"
    allowed = 0.2 if share is None else share
    overrides = [
        *Setting("simclr", workers, evaluations=0).overrides,
        f"config.MSCN.DATA={folder / 'zoo'}",
        f"config.MSCN.MAX_UNREADABLE_SHARE={allowed}",
        "config.OPTIMIZER.num_epochs=3",
    ]
    code = finish(run, overrides, WITHOUT_PRIVILEGE)
    lines = json_lines(run / "metrics.json")
    counted = [line["unreadable_images"] for line in lines if "unreadable_images" in line]
    said = messages_of(run)
    named = "left out a folder that cannot be read" in output_of(run)
    stops = len(unreadable) > allowed * SIZE
    remove_zoo(folder / "zoo")
    return {
        "workers": workers,
        "allowed": allowed,
        "unreadable": len(unreadable),
        "counted": counted,
        "code": code,
        "closed folder named": named,
        "said": said,
        "right": (code != 0 and len(said) == 1 and "MAX_UNREADABLE_SHARE" in said[0])
        if stops
        else (code == 0 and counted == [len(unreadable)] * 3 and named),
    }
