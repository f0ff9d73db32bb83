"""Accuracy on images of which a part is hidden: areas, and VISSL's launcher."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional as F

from mscn_plugin.evaluation.definitions import CONDITIONS

pytestmark = pytest.mark.usefixtures("registered")


def test_the_area_is_the_mean_over_the_shares():
    from mscn_plugin.evaluation.definitions import area
    from mscn_plugin.evaluation.occluded_images import SHARES

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


NO_FILTER = (
    "config.DATA.{0}.TRANSFORMS=[{{name: Resize, size: 64}}, {{name: ToTensor}}, "
    "{{name: Normalize, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}]"
)


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

    from mscn_plugin.evaluation.definitions import area

    one, two = (measure("quick_occlusion", processes) for processes in (1, 2))
    assert one["test_frozen_features"] == two["test_frozen_features"]
    assert one["occlusion"] == two["occlusion"]
    whole = measure("quick_frozen", 1, "config.MSCN.FROZEN_EVALUATIONS=[knn,logistic_regression]")[
        "test_frozen_features"
    ]
    numbers, curves = one["test_frozen_features"], one["occlusion"]["res5avg"]
    assert curves["images"] == 12
    for name, same in (("knn", "knn"), ("linear_probe", "logistic_regression")):
        clean = numbers[name]["clean"]["res5avg"]
        assert clean == whole[same]["top_1"]["res5avg"]
        for condition, accuracies in curves[name].items():
            assert accuracies[0] == clean
            assert numbers[name][condition]["res5avg"] == area(curves["shares"], accuracies)
    # Beside it: other weights, and the colors of the images, whole and hidden in the picture.
    untrained = curves["untrained"]
    assert untrained.keys() == {"knn", "linear_probe"}
    assert all(len(accuracies) == 5 for accuracies in untrained["knn"].values())
    assert untrained["knn"]["cells-zeros"] != curves["knn"]["cells-zeros"]
    in_the_picture = {name for name, c in CONDITIONS.items() if not c.filtered}
    assert curves["color_histogram"]["knn"].keys() == in_the_picture
    for accuracies in curves["color_histogram"]["knn"].values():
        assert accuracies[0] == color_accuracy(image_folder)


def color_accuracy(folder):
    """kNN of color histograms, of images resized and cropped as the configuration says."""
    from mscn_plugin.data.photographs import color_histogram
    from mscn_plugin.models.classifiers import knn_accuracy

    parts = []
    for split in ("train", "val"):
        paths = sorted((folder / split).rglob("*.png"))
        crops = [F.center_crop(F.resize(Image.open(path), 64), 56) for path in paths]
        labels = np.array([int(path.parent.name[-1]) for path in paths])
        parts.append((color_histogram(crops), labels))
    return knn_accuracy(*parts, 20, 0.07)[1]
