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
FILES: dict[str, tuple[str, ...]] = {
    "torchvision": ("torchvision.pth", "torchvision.safetensors"),
    "timm": ("timm.pth", "timm.safetensors"),
    "detectron2": ("detectron2.pth", "detectron2.safetensors"),
    "torchscript": ("features.pt",),
    "onnx": ("features.onnx",),
}
"""By format, the names of its files."""
