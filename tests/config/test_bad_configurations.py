"""Bad configurations stop in the launching process, with one sentence that names the right key."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.reliability import fuzz
from benchmarks.reliability.configs import BAD, said_of, says
from mscn_plugin.errors import ConfigError
from mscn_plugin.schema import SCHEMA, complete_settings


@pytest.fixture
def place(tmp_path, monkeypatch, registered):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a_file").write_text("")


def test_every_bad_configuration_has_a_name_of_its_own():
    names = [what for what, *_ in BAD]
    assert len(set(names)) == len(names)


@pytest.mark.hydra
@pytest.mark.parametrize(("what", "overrides", "part"), BAD, ids=[what for what, *_ in BAD])
def test_is_refused_by_name_in_one_line_and_writes_nothing(
    place, batch_folder, tmp_path, what, overrides, part
):
    data = [f"config.MSCN.DATA={batch_folder}"] if "MSCN.DATA=" not in " ".join(overrides) else []
    said = said_of([*data, *overrides])
    assert said is not None, "accepted"
    assert says(said, part), said
    assert "\n" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_file", "empty"]


@pytest.mark.hydra
def test_a_part_of_the_fuzz_is_refused_and_what_is_right_is_taken(place, batch_folder):
    """All of it is ``python -m benchmarks.reliability fuzz``, whose figures are in docs/."""
    rows = fuzz.run_all(batch_folder, every=90)
    assert len(rows) > 25
    assert [row for row in rows if not row["right"]] == []


def test_the_fuzz_is_the_same_each_time_and_large():
    assert fuzz.cases() == fuzz.cases()
    assert len(fuzz.cases()) > 1000


@pytest.mark.process
def test_the_tool_says_it_without_a_traceback_and_writes_nothing(run_tool, batch_folder, tmp_path):
    result = run_tool(
        "config=mscn/quickstart",
        f"config.MSCN.DATA={batch_folder}",
        "config.CHECKPOINT.DIR=run",
        "config.OPTIMIZER.name=larz",
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.splitlines() == [  # nor warnings; of imports see test_reliability.py
        "mscn-plugin: config.OPTIMIZER.name is 'larz', which is not registered; did you mean lars?"
    ]
    assert not (tmp_path / "run").exists()


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=5),
    st.lists(st.integers(0, 2), max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from(sorted(set(SCHEMA) - {"ONLINE_EVALUATION"})), value=values)
def test_any_value_of_an_mscn_key_is_taken_or_refused_by_name(key, value):
    cfg = {"MSCN": {key: value}}
    with contextlib.suppress(ConfigError):
        complete_settings(cfg)
        assert set(cfg["MSCN"]) == set(SCHEMA)
        return
    with pytest.raises(ConfigError, match=rf"^config\.MSCN\.{key} is "):
        complete_settings({"MSCN": {key: value}})


@settings(max_examples=100, deadline=None)
@given(key=st.text(min_size=1, max_size=12).filter(lambda key: key not in SCHEMA))
def test_no_other_key_is_taken(key):
    with pytest.raises(ConfigError, match="is not a key of MSCN"):
        complete_settings({"MSCN": {key: 1}})
