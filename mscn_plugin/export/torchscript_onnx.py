"""Trunk and filter as one recorded graph: TorchScript and ONNX."""

from __future__ import annotations

import inspect
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mscn_plugin.checkpoints.io import SIGMA_KEY
from mscn_plugin.export.export import Export
from mscn_plugin.export.filtered_trunk import FilteredTrunk
from mscn_plugin.export.formats import ONNX_FILE, TORCHSCRIPT_FILE
from mscn_plugin.export.pretrained import Pretrained
from mscn_plugin.models.input_channels import input_channels

_OPSET = 17

TORCHSCRIPT_LOADING = """\
```python
import torch

model = torch.jit.load("features.pt")
with torch.no_grad():
    features = model(images)
```

{images} Keep autocast off: the filter needs all digits of float32."""

ONNX_LOADING = """\
```python
import onnxruntime

session = onnxruntime.InferenceSession("features.onnx")
features = session.run(["features"], {{"images": images.numpy()}})[0]
```

{images}"""

IMAGES = """\
The high-pass filter is inside: `images` are normalized and **not** filtered, float32, any number of
them, {channels} x {side} x {side}. Another size is an error. {not_normalized}"""

PIXELS = """\
So are values above {limit:.1f}, such as
pixels from 0 to 255: {refusal}. Pixels from 0 to 1 that were not normalized cannot be told from
others; their features mean nothing."""

RAW_VALUES = """\
Values that were not normalized cannot be
told from others; their features mean nothing."""


class Checked(nn.Module):
    """A recorded graph that refuses sizes for which it was not recorded, and raw pixels."""

    def __init__(
        self, graph: nn.Module, channels: int, side: int, sigma: float, limit: float
    ) -> None:
        super().__init__()
        self.graph = graph
        self.channels = channels
        self.side = side
        self.sigma = sigma
        self.limit = limit

    def forward(self, images: Tensor) -> Tensor:
        if images.dim() != 4 or images.shape[1:] != [self.channels, self.side, self.side]:
            size = f"{self.channels}, {self.side}, {self.side}"
            raise ValueError(f"images are {images.shape}, not [B, {size}]")
        if bool((images.abs() > self.limit).any()):
            raise ValueError(f"images have values above {self.limit}: they are not normalized")
        return self.graph(images)


def export_torchscript(pretrained: Pretrained, folder: Path) -> Export:
    """Write ``features.pt``, whose attributes ``side`` and ``sigma`` are in pixels."""
    channels, side = _size(pretrained)
    limit = pretrained.preprocessing.limit
    file, recorded = folder / TORCHSCRIPT_FILE, folder / "recorded.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes that become constants, and of TorchScript's age
        graph = torch.jit.trace(
            FilteredTrunk(pretrained), _images(channels, side), check_trace=False
        )
        checked = Checked(graph, channels, side, pretrained.sigma, limit)
        torch.jit.script(checked).save(str(recorded))
        _copy_without_source_places(recorded, file)
        recorded.unlink()
        model = torch.jit.load(str(file))
    images = _about_images(pretrained, "the graph raises an error")
    loading = TORCHSCRIPT_LOADING.format(images=images)
    return Export(readers={file.name: torch.no_grad()(model)}, loading=loading)


def _copy_without_source_places(recorded: Path, file: Path) -> None:
    """Leave out where each line of the graph came from: the folders of the exporting machine."""
    with zipfile.ZipFile(recorded) as source, zipfile.ZipFile(file, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                target.writestr(entry, source.read(entry))


def export_onnx(pretrained: Pretrained, folder: Path) -> Export:
    """Write ``features.onnx``, from ``images`` to ``features``, with sigma in its metadata."""
    import onnx
    import onnxruntime

    file = folder / ONNX_FILE
    options: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False  # the newer exporter needs onnxscript as well
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            FilteredTrunk(pretrained),
            (_images(*_size(pretrained)),),
            str(file),
            input_names=["images"],
            output_names=["features"],
            dynamic_axes={"images": {0: "batch"}, "features": {0: "batch"}},
            opset_version=_OPSET,
            **options,
        )
    model = onnx.load(str(file))
    onnx.helper.set_model_props(model, {SIGMA_KEY: repr(pretrained.sigma)})
    onnx.checker.check_model(model)
    onnx.save(model, str(file))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def features(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["features"], {"images": images.numpy()})[0])

    images = _about_images(pretrained, "the features of such an image are NaN")
    loading = ONNX_LOADING.format(images=images)
    return Export(readers={file.name: features}, loading=loading)


def _size(pretrained: Pretrained) -> tuple[int, int]:
    """Channels of the images, and their side in pixels."""
    return input_channels(pretrained.model_config), pretrained.preprocessing.crop


def _images(channels: int, side: int) -> Tensor:
    """An example of the input; two images, since a batch of one could be recorded as no batch."""
    return torch.zeros(2, channels, side, side)


def _about_images(pretrained: Pretrained, refusal: str) -> str:
    channels, side = _size(pretrained)
    limit = pretrained.preprocessing.limit
    pixels = PIXELS.format(limit=limit, refusal=refusal)
    raw = pixels if pretrained.preprocessing.channels is None else RAW_VALUES
    return IMAGES.format(channels=channels, side=side, not_normalized=raw)
