"""The page beside exported files: what they are, how to load them, what was checked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, NamedTuple, Sequence, Tuple

import torch

import mscn_plugin
from mscn_plugin.export.check import TOLERANCE
from mscn_plugin.export.pretrained import Pretrained, describe
from mscn_plugin.export.results import Result
from mscn_plugin.models.trunk_features import trunk_features

CARD_FILE = "model_card.md"


class CheckedFile(NamedTuple):
    """A file that passed its check.

    Attributes:
        size: in bytes.
        sha256: in hexadecimal.
        differences: by kind of images, as :func:`mscn_plugin.export.check.check` measures them.
    """

    name: str
    size: int
    sha256: str
    differences: Dict[str, float]

    @classmethod
    def of(cls, file: Path, differences: Dict[str, float]) -> CheckedFile:
        content = file.read_bytes()
        return cls(file.name, len(content), hashlib.sha256(content).hexdigest(), differences)


KEYS = {
    "epochs of the whole run": "OPTIMIZER.num_epochs",
    "optimizer": "OPTIMIZER.name",
    "images per step and process": "DATA.TRAIN.BATCHSIZE_PER_REPLICA",
    "processes per node": "DISTRIBUTED.NUM_PROC_PER_NODE",
    "nodes": "DISTRIBUTED.NUM_NODES",
    "heads": "MODEL.HEAD.PARAMS",
    "loss": "LOSS.name",
    "collator": "DATA.TRAIN.COLLATE_FUNCTION",
    "masks, the collator's settings": "DATA.TRAIN.COLLATE_FUNCTION_PARAMS",
}
"""Rows of the card by their places in a configuration of VISSL."""

TEMPLATE = """\
# Pre-trained trunk: {trunk}

The trunk of a network that VISSL trained{loss}, without its heads: {features} features of an image.
{filter}

## Training

{training}

## Preprocessing

```python
from PIL import Image
from torchvision import transforms

preprocess = transforms.Compose(
    [
        transforms.Resize({resize}),
        transforms.CenterCrop({crop}),
        transforms.ToTensor(),
        transforms.Normalize({mean}, {std}),
    ]
)
images = preprocess(Image.open("photograph.jpg").convert("RGB"))[None]  # [1, 3, {crop}, {crop}]
```

{filtering}

{loading}

## Files and checks

{files}

Every file was read back after it was written. The differences are the largest between its features
and those of VISSL's model behind the filter, over an image's largest feature, on images of Gaussian
noise and on scikit-image's photograph of a cat; more than {tolerance:.0e} is an error. Exported by
mscn-plugin {version} with PyTorch {torch}.

## Results

{results}

## Licence

{licence}
"""

_FILTER = """\
Its images passed the high-pass filter of Masked Siamese ConvNets (section 4.3), with a sigma of
{sigma} pixels: its features are what they were trained to be behind the same filter only."""
_NO_FILTER = "Its images passed no high-pass filter."

_FILTERING = """\
The filter comes after the normalisation, where it is not inside of the file:
`high_pass(images, sigma={sigma})` of `mscn_plugin.masking`, which needs PyTorch alone. For each
channel it equals `x - scipy.ndimage.gaussian_filter(x, {sigma}, mode="mirror")`. Its sigma is in
pixels, for images of the size above."""


def model_card(
    pretrained: Pretrained,
    files: Sequence[CheckedFile],
    loading: Dict[str, str],
    results: Sequence[Result],
    licence: str,
) -> str:
    """The text of ``model_card.md``, in Markdown.

    Args:
        loading: by format, how to use its files.
        licence: of the weights.
    """
    preprocessing = pretrained.preprocessing
    loss = value_at(pretrained.config, "LOSS.name")
    rows = [(name, literal(v)) for name, v in training_rows(pretrained) if v is not None]
    return TEMPLATE.format(
        trunk=literal(pretrained.model_config.TRUNK.NAME),
        loss=f" with {literal(loss)}" if loss else "",
        features=trunk_features(pretrained.model_config, (preprocessing.crop, preprocessing.crop)),
        filter=(_FILTER if pretrained.sigma else _NO_FILTER).format(sigma=pretrained.sigma),
        filtering=(_FILTERING if pretrained.sigma else _NO_FILTER).format(sigma=pretrained.sigma),
        training=table(("what", "value"), rows),
        **preprocessing._asdict(),
        loading="\n\n".join(f"## {name}\n\n{text}" for name, text in loading.items()),
        files=table(("file", "bytes", "SHA-256", *files[0].differences), map(_file_row, files)),
        tolerance=TOLERANCE,
        version=mscn_plugin.__version__,
        torch=torch.__version__,
        results=table(Result._fields, (map(literal, row) for row in results))
        if results
        else "Not stated.",
        licence=" ".join(licence.split()),
    )


def training_rows(pretrained: Pretrained) -> Iterator[Tuple[str, Any]]:
    """What is known of the training; of its folders only the name of the data's."""
    config = pretrained.config
    yield "trunk", describe(pretrained.model_config)
    yield "sigma of the high-pass filter in pixels", pretrained.sigma
    yield "epochs of this checkpoint", pretrained.epochs
    for name, path in KEYS.items():
        yield name, value_at(config, path)
    yield "settings of the loss", value_at(config, f"LOSS.{value_at(config, 'LOSS.name')}")
    data = value_at(config, "MSCN.DATA")
    yield "data", Path(str(data)).name if data else value_at(config, "DATA.TRAIN.DATASET_NAMES")


def value_at(config: Any, path: str) -> Any:
    """The value at a path of keys with dots between, or None where there is none."""
    for key in path.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return config


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def literal(value: Any) -> str:
    """A value as code in a cell: no Markdown of a file's own becomes a part of the card."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return "`" + " ".join(text.split()).replace("`", "'").replace("|", "\\|") + "`"


def _file_row(file: CheckedFile) -> Iterator[str]:
    yield from (literal(file.name), str(file.size), literal(file.sha256))
    yield from (f"{difference:.1e}" for difference in file.differences.values())
