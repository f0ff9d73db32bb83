"""The package in plain PyTorch, where VISSL, Classy Vision and Hydra are not installed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import run_python
from PIL import Image

pytestmark = pytest.mark.process

WITHOUT_VISSL = """
import sys
ABSENT = ("vissl", "classy_vision", "fairscale", "hydra", "omegaconf", "cv2")
for name in list(sys.modules):
    if name.split(".")[0] in (*ABSENT, "mscn_plugin"):
        del sys.modules[name]
sys.modules.update(dict.fromkeys(ABSENT))
"""
"""What makes a process one in which these packages cannot be imported."""


def lines_of_the_readme() -> str:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "from mscn_plugin import MaskedViews, MSCNLoss" in lines
    return lines


SMALL = """
import torch
from torch import nn
torch.manual_seed(0)
def small_network():
    features = nn.Conv2d(3, 32, 7, 4), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(32, 64))
"""
IN_SECONDS = {
    "torchvision.models.resnet18(num_classes=64)": "small_network()",
    "lr=1e-3": "lr=1e-2",
}
"""What the test puts in the place of the network and its learning rate, to train in seconds."""


def write_waves(folder: Path) -> None:
    """32 images, each a wave with a direction, a length and a color of its own."""
    random = np.random.RandomState(0)
    y, x = np.mgrid[:40, :40]
    for index in range(32):
        angle, frequency = np.pi * index / 32, random.uniform(0.5, 1.5)
        wave = np.sin(frequency * (x * np.cos(angle) + y * np.sin(angle)))
        pixels = 127 + 120 * wave[..., None] * random.uniform(-1, 1, 3)
        path = folder / str(index % 2) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)


def test_the_readmes_lines_train_without_vissl(tmp_path):
    write_waves(tmp_path / "images")
    lines = lines_of_the_readme()
    for given, small in IN_SECONDS.items():
        assert lines.count(given) == 1
        lines = lines.replace(given, small)
    script = tmp_path / "train.py"
    script.write_text(f"{WITHOUT_VISSL}{SMALL}{lines}")
    printed = run_python(script, cwd=tmp_path).stdout
    losses = [float(loss) for loss in re.findall(r"^loss (\S+)$", printed, re.MULTILINE)]
    assert len(losses) == 10
    # At first near the logarithm of the number of alternatives, 63.
    assert losses[0] == pytest.approx(np.log(63), abs=0.5)
    assert max(losses[-2:]) < losses[0] - 1, losses


def test_all_public_names_work_without_vissl(tmp_path):
    script = tmp_path / "names.py"
    script.write_text(
        f"""{WITHOUT_VISSL}
import mscn_plugin
assert all(hasattr(mscn_plugin, name) for name in mscn_plugin.__all__)
import torch
from mscn_plugin.losses.byol import byol, target_momentum
from mscn_plugin.losses.info_nce import MSCNInfoNCELoss
from mscn_plugin.masking import MaskDraw, fill

vectors = [torch.randn(4, 8) for _ in range(2)]
assert float(byol([vectors, vectors[:1]], [vectors[:1], vectors])) > 0
assert float(MSCNInfoNCELoss(num_masks=1)(torch.randn(8, 16))) > 0
try:
    mscn_plugin.register()
except ImportError as error:
    print(error)
"""
    )
    assert "vissl" in run_python(script, cwd=tmp_path).stdout


@pytest.mark.new_interpreter
def test_importing_the_package_imports_neither_pytorch_nor_vissl():
    code = (
        "import sys, mscn_plugin; print({m.split('.')[0] for m in sys.modules} & "
        "{'torch', 'torchvision', 'vissl', 'classy_vision', 'hydra'})"
    )
    assert run_python("-c", code).stdout.strip() == "set()"


def test_a_name_that_is_not_there_is_an_attribute_error():
    import mscn_plugin

    with pytest.raises(AttributeError, match="no attribute 'MaskedView'"):
        mscn_plugin.MaskedView  # noqa: B018
