"""docs/paper_map.md: each config, key with its value, command and file that it names exists."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import pytest

from mscn_plugin.cli import COMMANDS
from mscn_plugin.config.composed import composed
from mscn_plugin.config.folder import config_folder
from mscn_plugin.experiments.definitions import SUITES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "paper_map.md").read_text()
ROWS = [
    [cell.strip() for cell in line[1:-1].split("|")]
    for line in PAGE.partition("\n## Other readings")[0].splitlines()
    if line.startswith("| ") and not line.startswith("| § ")
]
KEY = re.compile(r"[A-Z_]+(\.\w+)+")


def test_each_row_says_what_the_paper_gives():
    for row in ROWS:
        assert len(row) == 5, row
        known = ("stated", "cited", "derived", "chosen", "not run", "the other reading")
        assert any(word in row[4] for word in known), row


def test_every_section_and_table_has_rows():
    said = " ".join(f"{row[0]} {row[1]}" for row in ROWS)
    places = [*"346B", "4.2", "4.3", "4.4", "4.5", "4.6", "5", "5.1", "5.3", "A.1", "A.2", "A.3"]
    assert set(places) <= {place for row in ROWS for place in row[0].split(", ")}
    assert {f"Table {number}" for number in range(1, 11)} <= set(re.findall(r"Table \d+", said))


def named(row):
    """The names in a row's column of places, each with the config that stands before it."""
    config = "mscn/simclr"
    for name in re.findall("`([^`]+)`", row[3]):
        if name.startswith("mscn/"):
            config = name
        yield name, config


@pytest.mark.hydra
def test_every_name_exists_and_every_value_is_the_configs(registered):
    parts = functools.cache(composed)
    for row in ROWS:
        for name, config in named(row):
            if name.startswith("mscn/"):
                assert (config_folder() / "config" / f"{name}.yaml").is_file(), name
            elif name.startswith("mscn "):
                words = name.split()[1:]
                assert " ".join(words[:2]) in COMMANDS or words[0] in COMMANDS, name
                assert words[0] != "experiments" or words[1] in SUITES, name
            elif KEY.match(name):
                path, _, value = name.partition("=")
                found = parts(config)
                for key in path.split("."):
                    found = found[int(key) if isinstance(found, list) else key]
                assert not value or found == json.loads(quoted(value)), (config, name, found)
            else:
                assert (ROOT / name).is_file(), name


def quoted(value):
    """A value of the page as JSON: words stand there without quotation marks."""
    return value if re.match(r"[\d\[]|null|true|false", value) else f'"{value}"'


def plain(text):
    return re.sub(r"\s+", " ", text).lower()


def test_the_configs_quote_what_the_map_quotes():
    """One transcription of the paper's words: a comment's quotation is one of the map's."""
    known = plain(PAGE)
    for path in sorted((config_folder() / "config" / "mscn").rglob("*.yaml")):
        blocks = re.sub(r"\n\s*#", " ", path.read_text())
        text = " ".join(line.partition("#")[2] for line in blocks.splitlines())
        for quotation in re.findall(r'"([^"]+)"', text):
            for part in quotation.split("[...]"):
                words = plain(part).strip(" .,")
                assert len(words.split()) < 3 or words in known, (path.name, words)
