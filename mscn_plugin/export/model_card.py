"""The page beside exported files: what they are, how to load them, what was checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import mscn_plugin
from mscn_plugin.export.check import TOLERANCE
from mscn_plugin.export.pretrained import Pretrained, describe
from mscn_plugin.export.results import Result, Results
from mscn_plugin.models.shapes import trunk_features
from mscn_plugin.types import value_at

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
    differences: dict[str, float]

    @classmethod
    def of(cls, file: Path, differences: dict[str, float]) -> CheckedFile:
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
STARTS = ("MODEL.TRUNK.TIMM.WEIGHTS", "MODEL.WEIGHTS_INIT.PARAMS_FILE")
"""Files of weights from which a training may start."""

TEMPLATE = """\
# Pre-trained trunk: {trunk}

The trunk of a network that VISSL trained{loss}, without its heads: {features} features of an image.
{filter}

## Training

{training}

## Preprocessing

{assumed}{preprocessing}

{filtering}

{loading}

## Fine-tuning

A new linear layer after the features, and all weights trained further, with the same
preprocessing{and_filter} in front. The paper (A.3) takes 20 epochs of SGD with momentum, without
weight decay, in batches of 256, at a rate of 0.002 for the trunk and of 0.5 for the linear layer.

```python
import torch
{import_filter}


class Classifier(torch.nn.Module):
    def __init__(self, model, classes):  # a model of torchvision or timm, loaded as above
        super().__init__()
        self.model = model
        self.linear = torch.nn.Linear({features}, classes)

    def forward(self, images):
        return self.linear(self.model({filtered}))
```

Graphs, TorchScript and ONNX, are for inference. From the checkpoint of pre-training, mscn-plugin
fine-tunes by its own command, which takes trunk, crop and filter from the run; here with all
labels:

    mscn evaluate <checkpoint> --only quick_10percent \\
        --data <folder with train/ and val/> --overrides config.MSCN.TRAIN_SUBSET=1.0

## Files and checks

{files}

Every file was read back after it was written. The differences are the largest between its features
and those of VISSL's model behind the filter, over an image's largest feature, on images of Gaussian
noise and on scikit-image's photograph of a cat; more than {tolerance:.0e} is an error. Exported by
mscn-plugin {version} with PyTorch {torch}.

## Results

{results}

## License

{license}
"""

_PICTURES = """\
{decoding}

```python
import numpy as np
from PIL import Image, ImageOps
from torchvision import transforms


def decode(picture):  # upright RGB with 8 bits per channel
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I", "F"):
        raise ValueError("32 bits per channel: bring black to 0 and white to 255 first")
    if picture.mode.startswith("I;16"):
        black, white = {black}, {white}
        values = np.asarray(picture).astype(float)
        levels = ((values - black) * 256 // (white - black + 1)).clip(0, 255)
        levels[values == picture.info.get("transparency")] = 255
        picture = Image.fromarray(levels.astype(np.uint8))
    picture = picture.convert("RGBA")
    paper = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(paper, picture).convert("RGB")


preprocess = transforms.Compose(
    [
{resizing}        transforms.CenterCrop({crop}),
        transforms.ToTensor(),
        transforms.Normalize({mean}, {std}),
    ]
)
images = preprocess(decode(Image.open("photograph.jpg")))[None]  # [1, 3, {crop}, {crop}]
```

`ToTensor` divides the levels by 255, and `Normalize` needs that: raw pixels, from 0 to 255 or from
0 to 1, give features that mean nothing, and the weights by themselves cannot tell. (detectron2
itself takes raw pixels, from 0 to 255, and normalizes them by its configuration.)"""

_ARRAYS = """\
Images are arrays of C = {channels} channels, read as they are in the files, neither scaled nor
clipped; mean and standard deviation are in the files' own units.

```python
import numpy as np
import torch
from torchvision import transforms

preprocess = transforms.Compose(
    [
{resizing}        transforms.CenterCrop({crop}),
        transforms.Normalize({mean}, {std}),
    ]
)
image = np.load("image.npy").astype(np.float32)
if image.ndim == 2:  # [H, W], of one channel
    image = image[None]
elif len(image) != {channels}:  # [H, W, {channels}]
    image = np.moveaxis(image, -1, 0).copy()
images = preprocess(torch.from_numpy(image))[None]  # [1, {channels}, {crop}, {crop}]
```

Values that were not normalized so give features that mean nothing, and the weights by themselves
cannot tell."""

_ASSUMED = """\
Assumed, since the checkpoint came without its training's configuration: size, order of channels,
mean, standard deviation and range of the pixels.

"""

_FILTER = """\
Its images passed the high-pass filter of Masked Siamese ConvNets (section 4.3), with a sigma of
{sigma} pixels: its features are what they were trained to be behind the same filter only."""
_NO_FILTER = "Its images passed no high-pass filter."

_DECODING = """\
As in training: the first frame of a file, turned as its EXIF orientation says, on white where it is
transparent, its color profile ignored. Of pictures with more than 8 bits per channel {stated}"""
_STATED = """\
{black:g}
is black and {white:g} white: the range that the run's configuration states (`MSCN.PIXEL_RANGE`)."""
_NOT_STATED = """\
0 is
black and 65535 white in integers of 16 bits; integers of 32 bits and floats go from 0 to 1 (floats
alone), to 255 or to 65535, whichever of these holds the picture."""

_FILTERING = """\
The filter comes after the normalization, where it is not inside of the file:
`high_pass(images, sigma={sigma})` of `mscn_plugin.masking`, which needs PyTorch alone. For each
channel it equals `x - scipy.ndimage.gaussian_filter(x, {sigma}, mode="mirror")`. Its sigma is in
pixels, for images of the size above."""


def model_card(
    pretrained: Pretrained,
    files: Sequence[CheckedFile],
    loading: dict[str, str],
    results: Results | None,
    license: str,
) -> str:
    """The text of ``model_card.md``, in Markdown.

    Args:
        loading: by format, how to use its files.
        results: of evaluations, or None.
        license: of the weights.
    """
    preprocessing, sigma = pretrained.preprocessing, pretrained.sigma
    resizing = preprocessing.resizing_in_code()
    black, white = preprocessing.pixel_range or (0, 65535)
    stated = _STATED if preprocessing.pixel_range else _NOT_STATED
    loss = value_at(pretrained.config, "LOSS.name")
    rows = [(name, literal(v)) for name, v in training_rows(pretrained) if v is not None]
    return TEMPLATE.format(
        trunk=literal(pretrained.model_config.TRUNK.NAME),
        loss=f" with {literal(loss)}" if loss else "",
        features=trunk_features(pretrained.model_config, (preprocessing.crop, preprocessing.crop)),
        filter=(_FILTER if sigma else _NO_FILTER).format(sigma=sigma),
        filtering=(_FILTERING if sigma else _NO_FILTER).format(sigma=sigma),
        and_filter=" and filter" if sigma else "",
        import_filter="from mscn_plugin.masking import high_pass" if sigma else "",
        assumed="" if pretrained.config else _ASSUMED,
        filtered=f"high_pass(images, sigma={sigma})" if sigma else "images",
        preprocessing=(_PICTURES if preprocessing.channels is None else _ARRAYS).format(
            decoding=_DECODING.format(stated=stated.format(black=black, white=white)),
            black=black,
            white=white,
            resizing=f"        {resizing},\n" if resizing else "",
            **preprocessing._asdict(),
        ),
        training=table(("what", "value"), rows),
        loading="\n\n".join(f"## {name}\n\n{text}" for name, text in loading.items()),
        files=table(("file", "bytes", "SHA-256", *files[0].differences), map(_file_row, files)),
        tolerance=TOLERANCE,
        version=mscn_plugin.__version__,
        torch=torch.__version__,
        results=_results(results) if results and results.numbers else "Not stated.",
        license=" ".join(license.split()),
    )


def _results(results: Results) -> str:
    numbers = table(Result._fields, (map(literal, row) for row in results.numbers))
    return "\n\n".join([numbers, *map(literal, results.conditions)])


def training_rows(pretrained: Pretrained) -> Iterator[tuple[str, Any]]:
    """What is known of the training; of its folders only the name of the data's."""
    config = pretrained.config
    yield "trunk", describe(pretrained.model_config)
    yield "sigma of the high-pass filter in pixels", pretrained.sigma
    yield "epochs of this checkpoint", pretrained.epochs
    starts = [Path(str(path)).name for path in (value_at(config, key) for key in STARTS) if path]
    yield "started from the weights", ", ".join(starts) or None
    for name, path in KEYS.items():
        yield name, value_at(config, path)
    yield "settings of the loss", value_at(config, f"LOSS.{value_at(config, 'LOSS.name')}")
    yield "data", data_names(config)


def data_names(config: dict[str, Any] | None) -> Any:
    """What the run was trained on: the folder, the files, or a name of VISSL's dataset catalog."""
    data = value_at(config, "MSCN.DATA")
    if data and Path(str(data)).name.strip("."):
        return Path(str(data)).name
    paths = value_at(config, "DATA.TRAIN.DATA_PATHS")
    if paths:
        return [_name_of(Path(str(path))) for path in paths]
    sources = value_at(config, "DATA.TRAIN.DATA_SOURCES")
    return sources if sources == ["synthetic"] else value_at(config, "DATA.TRAIN.DATASET_NAMES")


def _name_of(path: Path) -> str:
    """The last part of a path; with the one before, where it names a split."""
    splits = ("train", "training", "images")
    return "/".join(path.parts[-2:]) if path.stem.lower() in splits else path.name


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
