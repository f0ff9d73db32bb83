"""The paper's results, to stand beside what is measured (Tables 1, 2 and 3).

The rows without MSCN are cited there from the methods' own articles, without their epochs.
"""

from __future__ import annotations

from typing import Any

from mscn_plugin.types import value_at

TABLES = {
    "SimCLR (cited)": {
        "imagenet1k_linear": 69.5,
        "imagenet1k_1percent": 48.3,
        "places205_linear": 52.5,
        "inaturalist18_linear": 37.2,
    },
    "SimCLR + MSCN": {
        "imagenet1k_linear": 71.5,
        "imagenet1k_1percent": 54.0,
        "places205_linear": 53.8,
        "inaturalist18_linear": 38.2,
    },
    "BYOL (cited)": {
        "imagenet1k_linear": 74.3,
        "imagenet1k_1percent": 53.2,
        "places205_linear": 54.0,
        "inaturalist18_linear": 47.6,
    },
    "BYOL + MSCN": {
        "imagenet1k_linear": 74.4,
        "imagenet1k_1percent": 55.2,
        "places205_linear": 54.2,
        "inaturalist18_linear": 44.3,
    },
}
"""Top-1 accuracy in percent of a ResNet-50 pre-trained on ImageNet-1K, by method and evaluation."""

COUNTERPARTS = {"quick_linear": "imagenet1k_linear"}
"""Evaluations of the quick suite that follow one of the paper's, on other data."""

_RATES = "Table 3's learning rate is not stated; here it is VISSL's."
PROTOCOLS = {
    "quick_linear": "The paper's linear probe is of 100 epochs (A.2), this one of 20, "
    "or of what --overrides says.",
    "imagenet1k_1percent": "Which 1% of the labels the paper has is not stated. Here it is drawn "
    "from each class, or is the file that config.MSCN.TRAIN_SUBSET names.",
    "places205_linear": _RATES,
    "inaturalist18_linear": _RATES,
}
"""By evaluation, in what its protocol may differ from that of the numbers beside it."""

TABLE_2 = {
    "supervised (cited)": ("ViT-S", "", 79.9),
    "MAE (cited)": ("ViT-S", "masks", 68.0),
    "DINO (cited)": ("ViT-S", "no masks", 78.3),
    "MSN (cited)": ("ViT-S", "masks", 76.9),
    "supervised ResNet-50 (cited)": ("ResNet-50", "", 76.5),
    "BYOL (cited)": ("ResNet-50", "no masks", 74.3),
    "MSCN": ("ResNet-50", "masks", 74.4),
}
"""Architecture, masks, and "accuracy" in percent on ImageNet-1K, by method. How it was measured is
not stated: BYOL's and MSCN's are Table 1's linear probes, the supervised ones cannot be. ViT-S has
22M parameters, ResNet-50 24M."""

_METHODS = {
    "mscn_info_nce_loss": "SimCLR",
    "simclr_info_nce_loss": "SimCLR",
    "byol_loss": "BYOL",
}


def paper_method(config: dict[str, Any] | None) -> str | None:
    """Which of the paper's methods a configuration trains, SimCLR or BYOL; None: neither.

    ``byol_loss`` whose target is no average, ``target_momentum_end`` 0, is SimSiam's.
    """
    loss = value_at(config, "LOSS.name")
    simsiam = value_at(config, f"LOSS.{loss}.target_momentum_end") == 0
    return None if simsiam else _METHODS.get(str(loss))


def paper_rows(method: str | None) -> dict[str, dict[str, float]]:
    """The rows that stand beside a run of this method: all of :data:`TABLES`, or none.

    Both methods of Tables 1 and 3 are shown beside a run of either: the claim is about both.
    """
    return TABLES if method else {}
