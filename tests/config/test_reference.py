"""docs/configuration.md is what the schema says."""

from __future__ import annotations

from pathlib import Path

from mscn_plugin.config.reference import page
from mscn_plugin.schema import all_keys


def test_the_committed_page_is_the_generated_one():
    """``python -m mscn_plugin.config.reference > docs/configuration.md`` writes it again."""
    assert (Path(__file__).parents[2] / "docs" / "configuration.md").read_text() == page()


def test_every_key_has_a_row():
    rows = {line.split("`")[1] for line in page().splitlines() if line.startswith("| `")}
    assert rows == {name.split(".")[-1] for name, _ in all_keys()}
