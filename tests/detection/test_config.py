"""The configs of configs/detection, as detectron2 reads them."""

from __future__ import annotations

import pytest
import torch

from mscn_plugin.config.folder import config_folder

CONFIGS = sorted(file.stem for file in (config_folder() / "detection").glob("*.yaml"))


@pytest.mark.parametrize(
    ("name", "iterations", "rates"),
    [
        (
            "voc0712_faster_rcnn_c4_24k",
            24000,
            {0: 0.028305, 999: 0.084943, 1000: 0.085, 17999: 0.085, 18000: 0.0085, 22000: 0.00085},
        ),
        (
            "coco_mask_rcnn_c4_1x",
            90000,
            {0: 0.01665, 999: 0.049967, 1000: 0.05, 59999: 0.05, 60000: 0.005, 80000: 0.0005},
        ),
        (
            "coco_mask_rcnn_c4_2x",
            180000,
            {0: 0.01665, 1000: 0.05, 119999: 0.05, 120000: 0.005, 160000: 0.0005},
        ),
    ],
)
def test_schedules_are_those_of_a4(detection_config, name, iterations, rates):
    from detectron2.solver import build_lr_scheduler, build_optimizer

    cfg = detection_config(name)
    optimizer = build_optimizer(cfg, torch.nn.Linear(1, 1))
    scheduler = build_lr_scheduler(cfg, optimizer)
    seen = {}
    for iteration in rates:
        scheduler.last_epoch = iteration  # of which alone its rate is a function
        seen[iteration] = scheduler.get_lr()[0]
    assert seen == pytest.approx(rates, abs=5e-7)
    assert cfg.SOLVER.IMS_PER_BATCH == 16
    assert iterations == cfg.SOLVER.MAX_ITER


def test_every_config_filters_as_pre_training(detection_config):
    assert CONFIGS == ["coco_mask_rcnn_c4_1x", "coco_mask_rcnn_c4_2x", "voc0712_faster_rcnn_c4_24k"]
    for name in CONFIGS:
        model = detection_config(name).MODEL
        assert (model.META_ARCHITECTURE, model.MSCN.SIGMA) == ("MSCNGeneralizedRCNN", 5.0)


@pytest.mark.parametrize(
    ("name", "vissls", "differences"),
    [
        (
            "voc0712_faster_rcnn_c4_24k",
            "voc0712/mocoV2/rn50_transfer_voc0712_detectron2_e2e",
            {"SOLVER.BASE_LR", "SOLVER.WARMUP_FACTOR"},
        ),
        (
            "coco_mask_rcnn_c4_1x",
            "COCOInstance/R50_C4_MaskRCNN_COCO/sBNExtraNorm_fz0_precBN",
            {
                *("SOLVER.BASE_LR", "SOLVER.MAX_ITER", "SOLVER.STEPS"),
                *("SOLVER.WARMUP_FACTOR", "SOLVER.WARMUP_ITERS", "MODEL.WEIGHTS"),
            },
        ),
    ],
)
def test_configs_are_vissls_but_for_a4(detection_config, name, vissls, differences):
    """ "All the configuration files are from the VISSL library" (A.4)."""
    from detectron2.config import get_cfg

    import configs

    theirs = get_cfg()
    folder = configs.__path__[0] + "/config/benchmark/object_detection"
    theirs.merge_from_file(f"{folder}/{vissls}.yaml")
    ours, theirs = flat(detection_config(name)), flat(theirs)
    assert ours.keys() == theirs.keys()
    different = {key for key in ours if ours[key] != theirs[key]}
    assert different == differences | {"MODEL.META_ARCHITECTURE"}


def flat(cfg, prefix=""):
    values = {}
    for key, value in cfg.items():
        inner = hasattr(value, "items")
        values.update(flat(value, f"{prefix}{key}.") if inner else {prefix + key: value})
    return values
