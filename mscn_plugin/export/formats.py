"""Which formats there are."""

from __future__ import annotations

LIBRARIES: dict[str, tuple[str, ...]] = {
    "torchvision": ("safetensors",),
    "timm": ("safetensors", "timm"),
    "detectron2": ("safetensors",),
    "torchscript": (),
    "onnx": ("onnx", "onnxruntime"),
}
"""By format, the libraries that it takes beside the package's own."""
TORCHSCRIPT_FILE, ONNX_FILE = "features.pt", "features.onnx"
_WEIGHTS = ("torchvision", "timm", "detectron2")
FILES = (
    *(f"{name}.{ending}" for name in _WEIGHTS for ending in ("pth", "safetensors")),
    TORCHSCRIPT_FILE,
    ONNX_FILE,
)
"""The names of the files of all formats."""
