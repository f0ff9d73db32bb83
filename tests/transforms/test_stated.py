"""What transforms in a configuration state: normalization."""

from __future__ import annotations

import pytest

from mscn_plugin.export.preprocessing import preprocessing_of
from mscn_plugin.transforms.stated import normalize_of

TRAINED = {"name": "Normalize", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}
TESTED = {"name": "Normalize", "mean": [0.1, 0.1, 0.1], "std": [0.3, 0.3, 0.3]}
FLIP = {"name": "RandomHorizontalFlip"}


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ([FLIP, TRAINED], [TESTED], TRAINED),
        ([FLIP], [TESTED], TESTED),
        ([], [TESTED], TESTED),
        ([FLIP], [], None),
    ],
)
def test_the_normalization_is_that_of_training(train, test, expected):
    config = {"DATA": {"TRAIN": {"TRANSFORMS": train}, "TEST": {"TRANSFORMS": test}}}
    assert normalize_of(config) == expected
    plain = {"mean": [0.0] * 3, "std": [1.0] * 3}
    exported = preprocessing_of(config, None)
    for key in ("mean", "std"):
        assert list(getattr(exported, key)) == (expected or plain)[key]


def test_without_a_configuration_it_is_not_known():
    assert normalize_of(None) is None
    assert preprocessing_of(None, None).mean == (0.485, 0.456, 0.406)
