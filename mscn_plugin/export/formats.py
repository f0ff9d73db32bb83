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
