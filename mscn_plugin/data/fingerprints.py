"""Whether images are still those of before, without reading all of them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from mscn_plugin.data.arrays import ARRAYS
from mscn_plugin.data.image_folder import Contents, Splits, images_fingerprint
from mscn_plugin.data.index import IndexedImages
from mscn_plugin.data.sources import contents_of, size_listed
from mscn_plugin.data.statistics import arrays_fingerprint


def contents_fingerprint(contents: Contents) -> dict[str, Any]:
    """Number of the images, and hashes of their names and sizes; packed ones know their own."""
    if isinstance(contents.images, IndexedImages):
        return contents.images.origin.fingerprint
    return images_fingerprint(contents, size_listed)


def splits_digest(splits: Splits) -> str:
    """A short hash of what both splits hold: names, sizes and labels, and bytes of a few arrays.

    The folder's place makes no difference.

    Raises:
        ConfigError: a split has no images, or they cannot be read.
    """
    digest = hashlib.blake2b(digest_size=8)
    for val in (False, True) if splits.val else (False,):
        contents = contents_of(splits, val)
        of_arrays = splits.source == ARRAYS
        found = arrays_fingerprint(contents) if of_arrays else contents_fingerprint(contents)
        digest.update(json.dumps([found, contents.classes]).encode())
        digest.update(contents.labels().tobytes())
    return digest.hexdigest()
