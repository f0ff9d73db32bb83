"""A key of config.MSCN is one line: its default, its check, its error message and its resume."""

from __future__ import annotations

import pytest

from mscn_plugin import schema
from mscn_plugin.allowed import one_of, whole
from mscn_plugin.errors import ConfigError
from mscn_plugin.schema import Key, all_keys, complete_settings, defaults, with_defaults

KEYS = dict(all_keys())


@pytest.mark.parametrize("name", KEYS)
def test_every_default_is_allowed_and_every_key_says_what_it_is(name):
    key = KEYS[name]
    assert key.allowed.holds(key.default)
    assert key.allowed.words
    assert key.comment


def test_what_is_missing_is_completed_and_what_is_there_stays():
    cfg = {"MSCN": {"ONLINE_EVALUATION": {"NUM_NEIGHBORS": 3}, "DATA": "photographs"}}
    complete_settings(cfg)
    expected = {**defaults(), "DATA": "photographs"}
    expected["ONLINE_EVALUATION"]["NUM_NEIGHBORS"] = 3
    assert cfg["MSCN"] == expected


def test_a_run_of_another_version_is_completed_and_not_checked():
    before = {"MSCN": {"ONLINE_EVALUATION": {"NUM_NEIGHBORS": 3}, "LATER": 1}, "LOSS": {}}
    completed = with_defaults(before)
    expected = {**defaults(), "LATER": 1}
    expected["ONLINE_EVALUATION"]["NUM_NEIGHBORS"] = 3
    assert completed == {"MSCN": expected, "LOSS": {}}
    assert before["MSCN"] == {"ONLINE_EVALUATION": {"NUM_NEIGHBORS": 3}, "LATER": 1}
    assert with_defaults({"MSCN": None}) == {"MSCN": None}


def test_defaults_are_not_shared():
    cfg = {}
    complete_settings(cfg)
    cfg["MSCN"]["FROZEN_EVALUATIONS"].append("more")
    assert "more" not in defaults()["FROZEN_EVALUATIONS"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PICTURE_IMAGES", True),
        ("MAX_UNREADABLE_SHARE", float("nan")),
        ("MAX_UNREADABLE_SHARE", True),
        ("ONLINE_EVALUATION.TEMPERATURE", float("inf")),
        ("PRETRAINING_SIGMA", -1),
        ("PRETRAINING_SIGMA", "5"),
        ("PIXEL_RANGE", [1, 0]),
        ("FROZEN_EVALUATIONS", []),
        ("FROZEN_EVALUATIONS", [{}]),
        ("CHANNELS_LAST", "auto"),
        ("TRAIN_SUBSET", True),
        ("TRAIN_SUBSET", None),
        ("TRAIN_SUBSET", [0.1]),
        ("TRAIN_SUBSET", 0),
        ("TRAINING_IMAGES", 5),
    ],
)
def test_another_value_is_refused_by_name_with_what_is_allowed(name, value):
    section, _, last = name.rpartition(".")
    settings = {last: value}
    with pytest.raises(ConfigError) as refused:
        complete_settings({"MSCN": {section: settings} if section else settings})
    words = KEYS[name].allowed.words
    assert str(refused.value) == f"config.MSCN.{name} is {value!r}; it must be {words}"


def test_a_new_key_is_one_line(monkeypatch):
    monkeypatch.setitem(schema.SCHEMA, "NEW", Key(2, whole(1), "a new key"))
    monkeypatch.setitem(schema.SCHEMA, "MODES", {"A": Key("x", one_of("x", "y"), "a section's")})
    cfg = {"MSCN": {"MODES": {"A": "y"}}}
    complete_settings(cfg)
    assert (cfg["MSCN"]["NEW"], cfg["MSCN"]["MODES"]["A"]) == (2, "y")
    for settings, message in (
        ({"NEW": 0}, r"config\.MSCN\.NEW is 0; it must be a whole number of at least 1"),
        ({"MODES": {"A": "z"}}, r"config\.MSCN\.MODES\.A is 'z'; it must be x or y"),
        ({"MODES": {"B": 1}}, r"config\.MSCN\.MODES\.B is not a key of MSCN; known are A"),
        ({"MODES": 3}, r"config\.MSCN\.MODES is 3; it must be a section"),
    ):
        with pytest.raises(ConfigError, match=message):
            complete_settings({"MSCN": settings})
