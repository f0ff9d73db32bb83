"""Pictures as a page carries them, inside of itself."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from mscn_plugin.data.decoding import to_rgb

JPEG_QUALITY = 88


def data_uri(content: bytes, kind: str) -> str:
    """``content`` as an address that needs no file; ``kind`` is such as ``image/png``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def png(image: Image.Image) -> str:
    """A picture, kept exactly, as such an address."""
    return _encoded(image, "png")


def jpeg(image: Image.Image, side: int) -> str:
    """A photograph as such an address, its longer side ``side`` pixels at most."""
    small = to_rgb(image)
    small.thumbnail((side, side))
    return _encoded(small, "jpeg", quality=JPEG_QUALITY)


def _encoded(image: Image.Image, kind: str, **options: int) -> str:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return data_uri(stream.getvalue(), f"image/{kind}")


def picture_file(path: Path) -> str | None:
    """A PNG file as such an address, or None where it is missing or damaged."""
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # Pillow's of files
        return None
    return data_uri(content, "image/png")
