"""What transforms in a configuration state: sizes and normalization."""

from __future__ import annotations

import pytest

from mscn_plugin.errors import ConfigError
from mscn_plugin.export.preprocessing import preprocessing_of
from mscn_plugin.transforms.stated import crop_size, normalization_in_words, normalize_of

TRAINED = {"name": "Normalize", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}
TESTED = {"name": "Normalize", "mean": [0.1, 0.1, 0.1], "std": [0.3, 0.3, 0.3]}
FLIP = {"name": "RandomHorizontalFlip"}


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ([FLIP, TRAINED], [TESTED], TRAINED),
        ([FLIP], [TESTED], None),
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


@pytest.mark.parametrize(
    ("crop", "expected"),
    [
        ({"name": "RandomResizedCrop", "size": 56}, (56, 56)),
        ({"name": "RandomResizedCrop", "size": [56]}, (56, 56)),
        ({"name": "RandomResizedCrop", "size": [56, 48]}, (56, 48)),
        ({"name": "center_crop", "size": 56}, (56, 56)),
        ({"name": "MSCNRandomResizedCrops", "size": 56, "num_times": 2}, (56, 56)),
        ({"name": "ImgPilToMultiCrop", "size_crops": [224, 96]}, (224, 224)),
        ({"name": "Resize", "size": 56}, None),
        ({"name": "ImgPilToMultiCrop"}, None),
    ],
)
def test_the_size_of_views(crop, expected):
    assert crop_size([{"name": "Resize", "size": 64}, crop, FLIP]) == expected


@pytest.mark.parametrize("size", [0, True, 5.5, "56", [], [1, 2, 3], None])
def test_a_size_is_whole_numbers_above_0(size):
    with pytest.raises(ConfigError, match="RandomCrop with size .* it must be a whole number"):
        crop_size([{"name": "RandomCrop", "size": size}])


def test_an_export_takes_a_list_with_one_side():
    def crop_of(*test):
        return preprocessing_of({"DATA": {"TEST": {"TRANSFORMS": list(test)}}}, None)

    resize, crop = {"name": "Resize", "size": [64]}, {"name": "CenterCrop", "size": [56, 56]}
    assert crop_of(resize, crop)[:2] == (64, 56)
    for wrong in ({**crop, "size": [56, 48]}, {**resize, "size": [64, 64]}):
        with pytest.raises(ConfigError, match=r"TEST.TRANSFORMS has [\w ]+ with size \[\d+, \d+\]"):
            crop_of(wrong)


VIEWS = {"name": "RandomResizedCrop", "size": 56}
CENTER = {"name": "center_crop", "size": [42, 42]}


@pytest.mark.parametrize(
    ("train", "test", "channels", "expected"),
    [
        ([VIEWS], [], None, (64, 56)),
        ([VIEWS], [CENTER], None, (48, 42)),
        ([VIEWS], [{"name": "resize", "size": 70}], None, (70, 56)),
        ([VIEWS], [{"name": "Resize", "size": 50}, CENTER], None, (50, 42)),
        ([FLIP], [FLIP], None, (256, 224)),
        ([VIEWS], [CENTER], 6, (None, 42)),
        ([VIEWS], [{"name": "Resize", "size": 50}, CENTER], 6, (50, 42)),
    ],
)
def test_an_export_fills_gaps_as_evaluations_do(train, test, channels, expected):
    config = {
        "MSCN": {"CHANNELS": channels},
        "DATA": {"TRAIN": {"TRANSFORMS": train}, "TEST": {"TRANSFORMS": test}},
    }
    assert preprocessing_of(config, None)[:2] == expected
    resize, crop = expected
    twice = None if resize is None else 2 * resize
    assert preprocessing_of(config, 2 * crop)[:2] == (twice, 2 * crop)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ([{"name": "Resize", "size": 40}], "resizes to 40 pixels, less than the crop of 56"),
        ([CENTER, {"name": "Resize", "size": 28}], "resizes to 28 pixels, less than the crop"),
        ([{"name": "Resize", "size": 64, "max_size": 99}, CENTER], "Resize with max_size 99"),
    ],
)
def test_an_export_adds_no_black_border_and_keeps_the_ratio_of_sides(test, message):
    config = {"DATA": {"TRAIN": {"TRANSFORMS": [VIEWS]}, "TEST": {"TRANSFORMS": test}}}
    with pytest.raises(ConfigError, match=f"TEST.TRANSFORMS .*{message}.*--size"):
        preprocessing_of(config, None)
    assert preprocessing_of(config, 56)[:2] == (64, 56)


@pytest.mark.parametrize("size", [None, 28])
def test_an_export_interpolates_as_the_run_does(size):
    def mode(**resize):
        test = [{"name": "resize", "size": 64, **resize}, CENTER]
        return preprocessing_of({"DATA": {"TEST": {"TRANSFORMS": test}}}, size).interpolation

    assert (mode(), mode(interpolation=0), mode(interpolation=3)) == (2, 0, 3)
    assert preprocessing_of(None, size).interpolation == 2


def test_arrays_without_antialiasing_are_not_exported():
    test = [{"name": "Resize", "size": 64, "antialias": False}, CENTER]
    config = {"MSCN": {"CHANNELS": 6}, "DATA": {"TEST": {"TRANSFORMS": test}}}
    with pytest.raises(ConfigError, match=r"Resize with antialias False, .* --size"):
        preprocessing_of(config, None)
    del config["MSCN"]  # of a picture Pillow has no other way
    assert preprocessing_of(config, None)[:2] == (64, 42)


def test_an_export_needs_square_views():
    config = {"DATA": {"TRAIN": {"TRANSFORMS": [{**VIEWS, "size": [56, 48]}]}}}
    with pytest.raises(ConfigError, match=r"TRAIN.TRANSFORMS has a crop with size \[56, 48\]"):
        preprocessing_of(config, None)
    assert preprocessing_of(config, 56)[:2] == (64, 56)


def test_torchvisions_names_may_be_written_as_vissl_takes_them():
    normalize = {**TRAINED, "name": "normalize"}
    assert normalize_of({"DATA": {"TRAIN": {"TRANSFORMS": [normalize]}}}) == normalize


def test_equal_values_of_all_channels_are_one_value():
    def words(mean):
        return normalization_in_words([{"name": "Normalize", "mean": mean, "std": [0.5]}])

    assert words([0.5]) == words([0.5, 0.5, 0.5]) == words(0.5)
    assert words([0.5, 0.4, 0.5]) != words([0.5])
    assert words(None) != words([0.0])
