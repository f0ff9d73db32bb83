"""Accuracy on images of which a part is hidden: masks, shares, areas, and VISSL's launcher."""

from __future__ import annotations

import json

import pytest
import torch

pytestmark = pytest.mark.usefixtures("registered")

SIZE = (3, 56, 56)


def hidden(shape, share, indices, cell_size=8):
    from mscn_plugin.evaluation.occlusion import hidden_pixels

    return hidden_pixels(shape, share, cell_size, indices, SIZE)


@pytest.mark.parametrize("shape", ["cells", "channels", "box"])
@pytest.mark.parametrize("share", [0.15, 0.3, 0.5, 0.7])
def test_the_share_is_hidden_that_is_said(shape, share):
    pixels = hidden(shape, share, range(300))
    # Whole pixels make a box of 40 x 40, or 51%, of 50%.
    assert pixels.float().mean() == pytest.approx(share, abs=0.011)
    same = (pixels == pixels[:, :1]).flatten(1).all(dim=1).float().mean()
    assert same < 0.05 if shape == "channels" else same == 1
    # All places are hidden equally often but for a box, which covers the middle more often.
    if shape != "box":
        assert (pixels.float().mean(dim=0) - share).abs().max() < 0.12


def test_cells_have_a_height_and_a_width():
    rows = hidden("cells", 0.5, range(8), cell_size=[8, 56])
    assert torch.equal(rows[..., :1].expand_as(rows), rows)
    assert rows.float().mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("shape", ["cells", "channels", "box"])
def test_masks_are_an_images_own_and_grow(shape):
    masks = {share: hidden(shape, share, range(8)) for share in (0.15, 0.3, 0.5, 0.7)}
    for share, pixels in masks.items():
        torch.manual_seed(1)
        assert torch.equal(hidden(shape, share, [5, 2]), pixels[[5, 2]])
        assert not torch.equal(pixels[0], pixels[1])
    if shape != "box":
        assert (masks[0.15] <= masks[0.3]).all()
        assert (masks[0.3] <= masks[0.7]).all()


def versions(images, indices, sigma):
    from mscn_plugin.evaluation.occlusion import versions

    return dict(versions("test", images, indices, sigma, 8))


def test_what_is_hidden_is_behind_the_filter_or_in_front_of_it():
    from mscn_plugin.evaluation.definitions import CONDITIONS
    from mscn_plugin.masking import high_pass

    images, indices = torch.randn(3, *SIZE) + 1, [4, 0, 9]
    found = versions(images, indices, 1.25)
    assert next(iter(found)) == "test"
    assert len(found) == 1 + 4 * len(CONDITIONS)
    clean = high_pass(images, 1.25)
    assert torch.equal(found["test"], clean)
    cells, box = hidden("cells", 0.3, indices), hidden("box", 0.3, indices)
    assert torch.equal(found["cells-zeros-30"], clean.masked_fill(cells, 0))
    assert torch.equal(found["box-zeros-30"], clean.masked_fill(box, 0))
    gray = high_pass(images.masked_fill(box, 0), 1.25)
    assert torch.equal(found["picture-box-gray-30"], gray)
    noise = found["cells-noise-30"]
    assert torch.equal(noise[~cells], clean[~cells])
    assert noise[cells].std() == pytest.approx(0.225, rel=0.05)
    # Without a filter what is behind it is the picture, and in any batch an image is hidden alike.
    plain = versions(images, indices, 0.0)
    assert torch.equal(plain["cells-zeros-50"], plain["picture-cells-gray-50"])
    noise = plain["picture-box-noise-30"][box]
    assert noise.std() == pytest.approx(1, rel=0.05)
    assert noise.mean() == pytest.approx(0, abs=0.05)
    alone = versions(images[2:], indices[2:], 1.25)
    for name, version in found.items():
        torch.testing.assert_close(alone[name], version[2:])


def test_training_images_are_whole():
    from mscn_plugin.evaluation.occlusion import versions

    images = torch.randn(2, *SIZE)
    ((name, same),) = versions("train", images, [0, 1], 0.0, 8)
    assert name == "train"
    assert torch.equal(same, images)


def test_the_area_is_the_mean_over_the_shares():
    from mscn_plugin.evaluation.occlusion import SHARES, area

    # 0.2 * (80 + 60) / 2 + 0.3 * (60 + 20) / 2 = 14 + 12 = 26, over 0.5.
    assert area([0, 0.2, 0.5], [80, 60, 20]) == pytest.approx(52)
    assert area(SHARES, [30.0] * 5) == pytest.approx(30)


@pytest.fixture
def configure(compose, checkpoints, image_folder):
    def run(*overrides):
        return compose(
            "config=mscn/benchmark/quick_occlusion",
            "config.MODEL.TRUNK.SMALL_RESNET.WIDTH=4",
            f"config.MODEL.WEIGHTS_INIT.PARAMS_FILE={checkpoints['simclr']}/checkpoint.torch",
            f"config.MSCN.DATA={image_folder}",
            *overrides,
        )

    return run


NO_FILTER = "config.DATA.{0}.TRANSFORMS=[{{name: Resize, size: 64}}, {{name: ToTensor}}]"


def test_a_trunk_that_filters_by_itself_is_the_same_evaluation(configure):
    from mscn_plugin.evaluation.occlusion import OcclusionEngine

    inside = configure(
        "config.MODEL.TRUNK.NAME=high_pass_small_resnet",
        *(NO_FILTER.format(split) for split in ("TRAIN", "TEST")),
        "config.MSCN.OCCLUSION_IMAGES=5",
    )
    for cfg, cell_size in ((configure(), 8), (inside, 9)):
        loaded, versions = OcclusionEngine().prepare(cfg)
        assert loaded.MODEL.TRUNK.NAME == "small_resnet"
        assert versions.keywords == {"sigma": 1.25, "cell_size": cell_size}
        for split in ("TRAIN", "TEST"):
            assert "MSCNHighPass" not in [t["name"] for t in loaded.DATA[split].TRANSFORMS]
    assert loaded.DATA.TEST.DATA_LIMIT == 5
    assert inside.MODEL.TRUNK.NAME == "high_pass_small_resnet"


def test_what_cannot_be_hidden_is_said(configure):
    from mscn_plugin import ConfigError
    from mscn_plugin.evaluation.occlusion import OcclusionEngine

    with pytest.raises(ConfigError, match="OCCLUSION_CELL_SIZE is 57; it must be at most .* 56"):
        OcclusionEngine().prepare(configure("config.MSCN.OCCLUSION_CELL_SIZE=57"))
    with pytest.raises(ConfigError, match=r"OCCLUSION_CELL_SIZE is \[8, 57\]; .* width at most 56"):
        OcclusionEngine().prepare(configure("config.MSCN.OCCLUSION_CELL_SIZE=[8,57]"))
    cfg = configure()
    cfg.DATA.TEST.TRANSFORMS.append({"name": "RandomErasing"})
    with pytest.raises(ConfigError, match=r"TEST.TRANSFORMS\[4\] is MSCNHighPass; .* the last one"):
        OcclusionEngine().prepare(cfg)


def test_whole_images_are_as_accurate_as_without_the_engine_in_one_process_and_in_two(
    run_tool, checkpoints, image_folder, tmp_path
):
    def measure(config, processes, *overrides):
        folder = tmp_path / f"{config}{processes}"
        run_tool(
            f"config=mscn/benchmark/{config}",
            "config.MODEL.TRUNK.SMALL_RESNET.WIDTH=4",
            f"config.MODEL.WEIGHTS_INIT.PARAMS_FILE={checkpoints['simclr']}/checkpoint.torch",
            f"config.MSCN.DATA={image_folder}",
            "config.DATA.NUM_DATALOADER_WORKERS=0",
            "config.DATA.TEST.BATCHSIZE_PER_REPLICA=5",
            f"config.DISTRIBUTED.NUM_PROC_PER_NODE={processes}",
            f"config.CHECKPOINT.DIR={folder}",
            *overrides,
        )
        return json.loads((folder / "frozen_features.json").read_text())

    from mscn_plugin.evaluation.occlusion import area

    one, two = (measure("quick_occlusion", processes) for processes in (1, 2))
    assert one["test_frozen_features"] == two["test_frozen_features"]
    assert one["occlusion"] == two["occlusion"]
    whole = measure("quick_frozen", 1, "config.MSCN.FROZEN_EVALUATIONS=[knn,logistic_regression]")[
        "test_frozen_features"
    ]
    numbers, curves = one["test_frozen_features"], one["occlusion"]["res5avg"]
    for name, same in (("knn", "knn"), ("linear_probe", "logistic_regression")):
        clean = numbers[name]["clean"]["res5avg"]
        assert clean == whole[same]["top_1"]["res5avg"]
        for condition, accuracies in curves[name].items():
            assert accuracies[0] == clean
            assert numbers[name][condition]["res5avg"] == area(curves["shares"], accuracies)
