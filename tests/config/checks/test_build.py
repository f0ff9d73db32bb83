"""Every part is built once before anything starts: VISSL's, torchvision's and a user's own."""

from __future__ import annotations

import pytest

from mscn_plugin.config.checks.build import RecordedSection, build
from mscn_plugin.errors import ConfigError


class Part:
    """A part as VISSL has them: it reads what it knows, and checks nothing."""

    def __init__(self, side: int, exact: bool = True, sigma: float = 1.0, name=None):
        self.given = side, exact, sigma, name

    @classmethod
    def from_config(cls, config):
        return cls(config["side"], config.get("exact", True), config.get("sigma", 1.0))


@pytest.mark.parametrize("make", [Part.from_config, lambda config: Part(**config)])
@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"side": 1, "sgima": 2.0}, r"path\.sgima is not a key of part; did you mean sigma\?"),
        ({"side": 1.5}, r"path\.side is 1\.5; it must be a whole number"),
        ({"side": True}, r"path\.side is True; it must be a whole number"),
        ({"side": None}, r"path\.side is None; it must be a whole number"),
        ({"side": 1, "exact": "maybe"}, r"path\.exact is 'maybe'; it must be True or False"),
        ({"side": 1, "sigma": "wide"}, r"path\.sigma is 'wide'; it must be a number"),
        ({}, r"path is \{\}, which part does not take: (KeyError|TypeError): .*side"),
    ],
)
def test_what_a_part_does_not_say_of_its_keys_is_said_for_it(make, section, message):
    with pytest.raises(ConfigError, match=message):
        build("path", "part", make, section, Part)
    assert build("path", "part", make, {"side": 1, "sigma": 2}, Part).given[:3] == (1, True, 2)


def test_a_section_notes_every_way_of_asking():
    for ask in (
        lambda section: section["a"],
        lambda section: section.a,
        lambda section: section.get("a"),
        lambda section: section.pop("a", None),
        lambda section: section.setdefault("a", 1),
        lambda section: "a" in section,
    ):
        section = RecordedSection({"a": 1, "b": 2})
        ask(section)
        assert section.names == {"a"}
    for ask in (dict, list, lambda section: dict(**section), lambda section: section.items()):
        section = RecordedSection({"a": 1, "b": 2})
        ask(section)
        assert section.names == {"a", "b"}


def test_a_users_own_transform_is_built_and_its_keys_are_known(compose, batch_folder, monkeypatch):
    from classy_vision.dataset.transforms import TRANSFORM_REGISTRY, ClassyTransform

    class Own(ClassyTransform):
        def __init__(self, level):
            self.level = level

        def __call__(self, image):
            return image.point(lambda value: value + self.level)

        @classmethod
        def from_config(cls, config):
            return cls(config.get("level", 0))

    monkeypatch.setitem(TRANSFORM_REGISTRY, "Own", Own)
    flip = "config.DATA.TRAIN.TRANSFORMS.2"
    arguments = ["config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}", f"{flip}.name=Own"]
    compose(*arguments, f"~{flip}.p", f"+{flip}.level=3")
    for wrong, message in (
        ("levle=3", "levle is not a key of Own; did you mean level?"),
        ("level=high", "which Own does not take: TypeError"),
    ):
        with pytest.raises(ConfigError) as error:
            compose(*arguments, f"~{flip}.p", f"+{flip}.{wrong}")
        assert message in str(error.value)


def test_momentum_may_be_written_as_a_whole_number(compose, batch_folder):
    data = f"config.MSCN.DATA={batch_folder}"
    momentum = compose("config=mscn/quickstart", data, "config.OPTIMIZER.momentum=0").OPTIMIZER
    assert isinstance(momentum.momentum, float)


def test_parts_of_a_configuration_are_left_as_they_are(compose, batch_folder):
    """Classy Vision's parts take keys out of what they are built from, and add others."""
    from mscn_plugin.config.composed import composed

    cfg = compose("config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}")
    written = composed("mscn/quickstart")
    assert written["DATA"]["TRAIN"]["TRANSFORMS"] == cfg.DATA.TRAIN.TRANSFORMS
    assert "lr" not in cfg.OPTIMIZER


@pytest.mark.parametrize(
    "schedule",
    [
        "{name:step,values:[0.2,0.02],update_interval:epoch}",
        "{name:step_with_fixed_gamma,base_value:0.2,num_decays:2,gamma:0.1,num_updates:8,"
        "update_interval:epoch}",
    ],
)
def test_schedules_that_end_before_the_run_are_taken(compose, batch_folder, schedule):
    """A run never asks for the rate of its very end, where they have none."""
    key = "config.OPTIMIZER.param_schedulers.lr"
    compose("config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}", f"++{key}={schedule}")
