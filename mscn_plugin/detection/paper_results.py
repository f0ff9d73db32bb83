"""The paper's results of detection, to stand beside what is measured (Table 4)."""

from __future__ import annotations

_MSCN = "MSCN, of SimCLR or BYOL: not stated"
"""Section 5 trains both; which of them Table 4 transfers is not stated in the paper."""
TABLE_4: dict[str, dict[str, tuple[float, ...]]] = {
    "voc": {
        "supervised": (53.5, 81.3, 58.8),
        "MoCo v2 (cited)": (57.4, 82.5, 64.0),
        "SwAV (cited)": (56.1, 82.6, 62.7),
        "SimSiam (cited)": (57.0, 82.4, 63.7),
        "Barlow Twins (cited)": (56.8, 82.6, 63.4),
        _MSCN: (57.5, 83.0, 64.4),
    },
    "coco": {
        "supervised": (38.2, 58.2, 41.2, 33.3, 54.7, 35.2),
        "MoCo v2 (cited)": (39.3, 58.9, 42.5, 34.4, 55.8, 36.5),
        "SwAV (cited)": (38.4, 58.6, 41.3, 33.8, 55.2, 35.9),
        "SimSiam (cited)": (39.2, 59.3, 42.1, 34.4, 56.0, 36.7),
        "Barlow Twins (cited)": (39.2, 59.0, 42.5, 34.3, 56.0, 36.5),
        _MSCN: (39.1, 59.1, 42.1, 34.2, 55.7, 36.4),
    },
}
"""The paper's rows, by data set: AP, AP50, AP75 of boxes, then of masks. All but MSCN's are cited
there, the supervised one without a reference."""
_PRETRAINED = "Table 4: a ResNet-50 pre-trained on ImageNet-1K"
PROTOCOL = {
    "voc": f"{_PRETRAINED}, then 24,000 iterations of 16 images of VOC07+12.",
    "coco": f"{_PRETRAINED}, then 90,000 iterations of 16 images of COCO 2017 (the 1x schedule).",
}
"""Of what those numbers are (A.4)."""
