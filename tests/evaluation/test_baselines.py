"""The untrained trunk and histograms that an evaluation of frozen features measures beside."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from vissl.utils.hydra_config import AttrDict

pytestmark = pytest.mark.usefixtures("registered")

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]


def config(channels, *transforms):
    return AttrDict({"MSCN": {"CHANNELS": channels}, "DATA": {"TEST": {"TRANSFORMS": transforms}}})


def test_the_untrained_trunk_is_always_the_same(compose, checkpoints, image_folder):
    from vissl.models import build_model

    from mscn_plugin.evaluation.baselines import BesideUntrained

    cfg = compose(
        "config=mscn/benchmark/quick_boxes",
        "config.MODEL.TRUNK.SMALL_RESNET.WIDTH=4",
        f"config.MODEL.WEIGHTS_INIT.PARAMS_FILE={checkpoints['simclr']}/checkpoint.torch",
        f"config.MSCN.DATA={image_folder}",
    )
    torch.manual_seed(1)
    trained = build_model(cfg.MODEL, cfg.OPTIMIZER).eval()
    task = SimpleNamespace(config=cfg, base_model=trained, device="cpu")
    images, state = torch.randn(2, 3, 56, 56), torch.get_rng_state()
    outputs = [BesideUntrained(task).eval()(images) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    (features, untrained), (_, again) = outputs
    assert torch.equal(untrained, again)
    assert torch.equal(features, trained(images)[0])
    assert not torch.equal(features, untrained)
    assert features.flatten(1).shape == (2, 32 * 2 * 2)


def test_the_untrained_trunk_of_timm_starts_from_no_file(monkeypatch):
    from mscn_plugin.evaluation import baselines

    built = []
    monkeypatch.setattr(
        baselines, "build_model", lambda model, _: built.append(model) or torch.nn.Identity()
    )
    model = {"TRUNK": {"NAME": "timm", "TIMM": {"NAME": "resnet10t", "WEIGHTS": "pretrained.pth"}}}
    cfg = AttrDict({"MODEL": model, "OPTIMIZER": {}})
    baselines.BesideUntrained(SimpleNamespace(config=cfg, base_model=None, device="cpu"))
    assert built[0].TRUNK.TIMM.WEIGHTS is None
    assert cfg.MODEL.TRUNK.TIMM.WEIGHTS == "pretrained.pth"


@pytest.mark.parametrize("normalized", [True, False])
def test_histograms_are_those_of_the_pictures_before_they_were_normalized(normalized):
    from torchvision.transforms import functional as F

    from mscn_plugin.data.photographs import color_histogram
    from mscn_plugin.evaluation.baselines import histograms

    pictures = np.random.RandomState(0).randint(0, 256, (4, 8, 9, 3)).astype(np.uint8)
    given = torch.stack([F.to_tensor(picture) for picture in pictures])
    stated = ({"name": "ToTensor"},)
    if normalized:
        given = F.normalize(given, MEAN, STD)
        stated += ({"name": "Normalize", "mean": MEAN, "std": STD},)
    counts = histograms(given, config(None, *stated))
    assert np.array_equal(counts.numpy(), color_histogram(pictures))
    # What is hidden may lie beyond black and white.
    beyond = histograms(torch.full((1, 3, 2, 2), 9.0), config(None, *stated))
    assert beyond.argmax() == beyond.shape[1] - 1


def test_histograms_of_arrays_are_of_each_channels_values():
    from mscn_plugin.data.arrays import value_histogram
    from mscn_plugin.evaluation.baselines import histograms

    mean, std = [3.0, -1.0], [2.0, 5.0]
    images = torch.randn(3, 2, 6, 6) * torch.tensor(std).view(2, 1, 1) + 1
    given = (images - torch.tensor(mean).view(2, 1, 1)) / torch.tensor(std).view(2, 1, 1)
    expected = [value_histogram(image.numpy(), mean, std) for image in images]
    counts = histograms(given, config(2, {"name": "Normalize", "mean": mean, "std": std}))
    np.testing.assert_allclose(counts, np.stack(expected), atol=1 / 36)
    assert np.abs(counts.numpy() - np.stack(expected)).max(axis=1).min() < 1e-6
