from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from mscn_plugin.report.pictures import (
    jpeg,
    picture_file,
    png,
)


def decoded(address):
    return Image.open(io.BytesIO(base64.b64decode(address.partition(";base64,")[2])))


def test_pictures_travel_inside_of_the_page():
    image = Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    assert png(image).startswith("data:image/png;base64,")
    assert np.array_equal(np.asarray(decoded(png(image))), np.asarray(image))
    assert decoded(jpeg(Image.new("L", (400, 200)), 100)).size == (100, 50)
    assert decoded(jpeg(Image.new("RGB", (40, 20)), 100)).size == (40, 20)


def test_a_damaged_or_missing_file_is_no_picture(tmp_path):
    file = tmp_path / "a.png"
    assert picture_file(file) is None
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (50, 50, 3)).astype(np.uint8)).save(
        file
    )
    assert picture_file(file).startswith("data:image/png;base64,")
    file.write_bytes(file.read_bytes()[:2000])
    assert picture_file(file) is None
    file.write_text("junk")
    assert picture_file(file) is None
