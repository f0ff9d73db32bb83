"""The quickstart's dataset: which photograph is this patch from?

Sixteen photographs are inside the installed scikit-image and scikit-learn, so nothing is
downloaded. Each is a class. A 4 x 4 grid divides it into cells; one cell of each row and column
is for validation, the rest for training, so that the splits share no pixel and both see all of
the photograph. Patches are windows of random place, size and angle.

Color would give a photograph away, so each patch is stored in a light of its own: gamma, hue,
saturation, white balance, contrast and brightness are drawn once and baked in. What is left to
recognize is texture and form.

Everything is seeded: the same packages yield the same patches. Boxes are (left, upper, right,
lower) in pixels, as in Pillow; patches are uint8 RGB arrays of shape (P, P, 3), P = 80.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mscn_plugin.data.decoding import to_rgb
from mscn_plugin.errors import ConfigError
from mscn_plugin.files import remove_abandoned, staging_folder

VERSION = 1  # of everything that a change of the constants below does not show

# Every photograph in the wheels of scikit-image 0.18 to 0.26 and of scikit-learn. Left out:
# drawings, charts, scans of text, the second picture of the stereo pair, and three in which
# hardly anything is to be seen (cell, clock_motion, microaneurysms).
PHOTOGRAPHS = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "brick": ("skimage", "data/brick.png"),
    "camera": ("skimage", "data/camera.png"),
    "cat": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "coins": ("skimage", "data/coins.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "galaxies": ("skimage", "data/hubble_deep_field.jpg"),
    "grass": ("skimage", "data/grass.png"),
    "gravel": ("skimage", "data/gravel.png"),
    "moon": ("skimage", "data/moon.png"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "pagoda": ("sklearn", "datasets/images/china.jpg"),
    "retina": ("skimage", "data/retina.jpg"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "tissue": ("skimage", "data/ihc.png"),
}
MIN_PHOTOGRAPHS = 12

NUM_PATCHES = {"train": 200, "val": 40}  # of each photograph
PATCH_SIZE = 80  # pixels; leaves random crops of 56 room
SHORTER_SIDE = 400  # pixels; photographs are brought to this size, which makes a cell 100
WINDOW_SIDE = (52.0, 80.0)  # pixels at that size; turned by MAX_ANGLE, 80 still fits in a cell
MAX_ANGLE = 15.0  # degrees to either side
MIN_DETAIL = 4.0  # gray levels; flatter windows (clear sky) are drawn again
MAX_DRAWS = 200  # of one window
JPEG_QUALITY = 90

_GRID = 4
_VAL_COLUMN = (1, 3, 0, 2)  # of each row of the grid: no two touch, and each column has one
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Box = tuple[int, int, int, int]


def cache_folder() -> Path:
    """Where datasets are kept between runs.

    Returns:
        ``$MSCN_CACHE`` if set, else ``$XDG_CACHE_HOME/mscn_plugin`` if set, else
        ``~/.cache/mscn_plugin``. The folder need not exist.
    """
    if os.environ.get("MSCN_CACHE"):
        return Path(os.environ["MSCN_CACHE"]).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "mscn_plugin"


def photographs() -> dict[str, Image.Image]:
    """Load the photographs that the installed packages hold; packages are not imported.

    Returns:
        RGB images by name, of the sizes in which they are shipped (300 to 1411 px per side).

    Raises:
        ConfigError: fewer than ``MIN_PHOTOGRAPHS`` are there.
    """
    return {name: to_rgb(Image.open(path)) for name, path in _files().items()}


def regions(size: tuple[int, int]) -> dict[str, list[Box]]:
    """Divide a photograph of ``size`` (width, height) pixels between training and validation.

    Returns:
        The boxes that windows of each split may be in, ``{"train": [...], "val": [...]}``. No
        box of one split shares a pixel with one of the other. Training boxes are the runs of
        cells along rows and columns, which overlap each other; validation boxes are single cells.
    """
    x, y = ([round(side * i / _GRID) for i in range(_GRID + 1)] for side in size)
    boxes: dict[str, list[Box]] = {"train": [], "val": []}
    for row, column in enumerate(_VAL_COLUMN):
        boxes["val"].append((x[column], y[row], x[column + 1], y[row + 1]))
        for first, last in _runs(column):
            boxes["train"].append((x[first], y[row], x[last], y[row + 1]))
        for first, last in _runs(row):
            boxes["train"].append((x[column], y[first], x[column + 1], y[last]))
    return boxes


def build_photographs(root: str | Path | None = None) -> Path:
    """Write the dataset as JPEG files unless it is there already.

    The folder's name carries the version and a digest of all parameters, so that what an older
    version wrote is never mistaken for this one's. It is built under another name beside its
    place and renamed when complete: a killed build leaves nothing that would be accepted, and of
    several processes that build at once all get the same complete folder.

    Args:
        root: the folder to build in, created if need be. Default: :func:`cache_folder`.

    Returns:
        A folder with ``train/<photograph>/*.jpg`` and ``val/<photograph>/*.jpg``: 200 and 40
        patches of 80 x 80 px of each of up to 16 photographs.

    Raises:
        ConfigError: fewer than ``MIN_PHOTOGRAPHS`` are installed, or ``root`` cannot be written.
    """
    root = Path(root or cache_folder()).expanduser().absolute()
    manifest = _manifest()
    folder = root / f"photographs-v{VERSION}-{hashlib.sha256(manifest).hexdigest()[:8]}"
    if _is_complete(folder, manifest):
        return folder
    pictures = photographs()
    try:
        root.mkdir(parents=True, exist_ok=True)
        remove_abandoned(root)
        with staging_folder(root) as scratch:
            built = scratch / "complete"
            _write(pictures, built)
            (built / "manifest.json").write_bytes(manifest)
            _put_in_place(built, folder, manifest, scratch / "discarded")
    except OSError as error:
        raise ConfigError(
            f"the photographs cannot be written to {str(root)!r} ({error.strerror or error}): set "
            "the environment variable MSCN_CACHE to a folder that can be written"
        ) from error
    return folder


def color_histogram(images: Sequence[Any]) -> np.ndarray:
    """Count colors: the features that a task must not be solvable with.

    Args:
        images: N RGB images, Pillow's or uint8 arrays of shape (H, W, 3), of any sizes.

    Returns:
        Joint histograms of 8 x 8 x 8 colors, float32 of shape (N, 512); each row sums to 1.
    """
    counts = np.empty((len(images), 512), np.float32)
    for row, image in zip(counts, images):
        octant = np.asarray(image).reshape(-1, 3).astype(np.int64) // 32
        row[:] = np.bincount(octant @ (64, 8, 1), minlength=512) / len(octant)
    return counts


@dataclasses.dataclass(frozen=True)
class Window:
    """A square to cut from a picture.

    Attributes:
        x, y: its center, in pixels of the picture.
        side: its side in pixels of the picture.
        angle: by how much it is turned clockwise, in radians.
    """

    x: float
    y: float
    side: float
    angle: float

    @classmethod
    def draw(cls, size: tuple[int, int], random: np.random.RandomState) -> Window:
        """Draw a window that lies within a picture of ``size`` (width, height) pixels."""
        side = math.exp(random.uniform(*np.log(WINDOW_SIDE)))
        angle = math.radians(random.uniform(-MAX_ANGLE, MAX_ANGLE))
        reach = side * (abs(math.cos(angle)) + abs(math.sin(angle))) / 2
        x, y = (random.uniform(reach, length - reach) for length in size)
        return cls(x, y, side, angle)

    def cut(self, picture: Image.Image) -> np.ndarray:
        """Resample the window to a patch: uint8 of shape (P, P, 3)."""
        along = math.cos(self.angle) * self.side / PATCH_SIZE
        across = math.sin(self.angle) * self.side / PATCH_SIZE
        left = self.x - (along - across) * PATCH_SIZE / 2
        upper = self.y - (along + across) * PATCH_SIZE / 2
        return np.asarray(
            picture.transform(
                (PATCH_SIZE, PATCH_SIZE),
                Image.Transform.AFFINE,
                (along, -across, left, across, along, upper),
                Image.Resampling.BICUBIC,
            )
        )


@dataclasses.dataclass(frozen=True)
class Light:
    """In which light a patch is stored.

    Attributes:
        gamma: exponent of the intensities in [0, 1].
        hue: rotation of the colors about the gray axis in radians.
        saturation: factor of the colors' distance from gray; 0 makes the patch gray.
        white_balance: factors of red, green and blue.
        contrast: factor of the distance from the patch's mean.
        brightness: added to the intensities.
    """

    gamma: float
    hue: float
    saturation: float
    white_balance: tuple[float, float, float]
    contrast: float
    brightness: float

    @classmethod
    def draw(cls, random: np.random.RandomState) -> Light:
        """Draw a light; one in five is gray before the white balance tints it."""
        red, green, blue = np.exp(random.uniform(-0.25, 0.25, 3))
        return cls(
            gamma=math.exp(random.uniform(-0.4, 0.4)),
            hue=random.uniform(-math.pi, math.pi),
            saturation=random.choice([0, 1], p=[0.2, 0.8]) * math.exp(random.uniform(-0.5, 0.15)),
            white_balance=(red, green, blue),
            contrast=math.exp(random.uniform(-0.5, 0.15)),
            brightness=random.uniform(-0.1, 0.1),
        )

    def shine_on(self, patch: np.ndarray) -> np.ndarray:
        """Return the patch in this light: uint8 RGB of the same shape (P, P, 3)."""
        x = (patch.astype(np.float32) / 255) ** np.float32(self.gamma)
        gray = (x @ _LUMA)[..., None]
        x = gray + (x - gray) @ _hue_rotation(self.hue).T * np.float32(self.saturation)
        x = x * np.asarray(self.white_balance, np.float32)
        x = x.mean() + (x - x.mean()) * np.float32(self.contrast) + np.float32(self.brightness)
        levels: np.ndarray = (np.clip(x, 0, 1) * 255 + 0.5).astype(np.uint8)
        return levels


def patches(photograph: Image.Image, name: str, split: str) -> Iterator[np.ndarray]:
    """Cut the patches of one class and split.

    Args:
        photograph: RGB.
        name: seeds the randomness, together with ``split``.
        split: ``train`` or ``val``.

    Yields:
        ``NUM_PATCHES[split]`` patches, uint8 of shape (P, P, 3).

    Raises:
        RuntimeError: the photograph is flat.
    """
    random = np.random.RandomState(zlib.crc32(f"{name}/{split}".encode()))
    scale = SHORTER_SIDE / min(photograph.size)
    # Cut out before resizing: no resampling reads pixels of the other split.
    pictures = [photograph.crop(box) for box in regions(photograph.size)[split]]
    pictures = [_resized(picture, scale) for picture in pictures]
    areas = np.array([picture.width * picture.height for picture in pictures])
    for _ in range(NUM_PATCHES[split]):
        for _ in range(MAX_DRAWS):
            picture = pictures[random.choice(len(pictures), p=areas / areas.sum())]
            patch = Window.draw(picture.size, random).cut(picture)
            if _detail(patch) >= MIN_DETAIL:
                break
        else:
            raise RuntimeError(f"no detail found in the {split} regions of {name}")
        yield Light.draw(random).shine_on(patch)


def _files() -> dict[str, Path]:
    found = {}
    for name, (package, inside) in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if Path(folder, inside).is_file():
                found[name] = Path(folder, inside)
    if len(found) < MIN_PHOTOGRAPHS:
        raise ConfigError(
            f"config.MSCN.DATA=photographs needs {MIN_PHOTOGRAPHS} of the {len(PHOTOGRAPHS)} "
            f"photographs inside scikit-image and scikit-learn, but {len(found)} are there: "
            "pip install scikit-image scikit-learn"
        )
    return found


def _manifest() -> bytes:
    settings = {
        "version": VERSION,
        "photographs": {name: zlib.crc32(path.read_bytes()) for name, path in _files().items()},
        "num_patches": NUM_PATCHES,
        "patch_size": PATCH_SIZE,
        "shorter_side": SHORTER_SIDE,
        "window_side": WINDOW_SIDE,
        "max_angle": MAX_ANGLE,
        "min_detail": MIN_DETAIL,
        "max_draws": MAX_DRAWS,
        "jpeg_quality": JPEG_QUALITY,
    }
    return json.dumps(settings, indent=2, sort_keys=True).encode()


def _is_complete(folder: Path, manifest: bytes) -> bool:
    try:
        return (folder / "manifest.json").read_bytes() == manifest
    except OSError:
        return False


def _write(pictures: dict[str, Image.Image], folder: Path) -> None:
    for name, picture in pictures.items():
        for split in NUM_PATCHES:
            (folder / split / name).mkdir(parents=True)
            for number, patch in enumerate(patches(picture, name, split)):
                file = folder / split / name / f"{number:03d}.jpg"
                Image.fromarray(patch).save(file, quality=JPEG_QUALITY, subsampling=0)


def _put_in_place(built: Path, folder: Path, manifest: bytes, discarded: Path) -> None:
    if not _is_complete(folder, manifest):  # absent, or damaged from outside
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder, discarded)
    try:
        os.rename(built, folder)
    except OSError:
        if not _is_complete(folder, manifest):  # else another process was first
            raise


def _runs(val: int) -> list[tuple[int, int]]:
    """Return the cells before and after cell ``val`` of a row or column, as half-open ranges."""
    return [(first, last) for first, last in ((0, val), (val + 1, _GRID)) if first < last]


def _resized(picture: Image.Image, scale: float) -> Image.Image:
    width, height = (round(side * scale) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _detail(patch: np.ndarray) -> float:
    """Return the root mean square difference of neighboring pixels in gray levels."""
    gray = patch @ _LUMA
    return math.sqrt(sum(np.square(np.diff(gray, axis=axis)).mean() for axis in (0, 1)))


def _hue_rotation(angle: float) -> np.ndarray:
    """Return the rotation of RGB space about the gray axis: float32 of shape (3, 3)."""
    axis = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    rotation: np.ndarray = axis + math.cos(angle) * (np.eye(3) - axis) + math.sin(angle) * cross
    return rotation.astype(np.float32)
