"""The messages that the page about error messages quotes are those of the code."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
QUOTED = re.findall(r"^- `(.*)`$", PAGE, re.MULTILINE)


@functools.cache
def messages() -> set[str]:
    """All texts of the package, with ``...`` where something is put into them."""
    found = set()
    for file in (ROOT / "mscn_plugin").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (
                    part.value if isinstance(part, ast.Constant) else "..." for part in node.values
                )
                found.add("".join(map(str, parts)))
    return found


def is_quoted_from(message: str, quoted: str) -> bool:
    """Whether all parts of ``quoted`` between its ``...`` are in ``message``, in their order."""
    return re.search(".*".join(map(re.escape, quoted.split("..."))), message, re.DOTALL) is not None


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_message_is_one_of_the_code(quoted):
    assert len(quoted.replace(".", "")) > 20
    assert any(is_quoted_from(message, quoted) for message in messages())


def test_every_entry_quotes_a_message_and_says_what_to_do():
    entries = re.findall(r"^- (.*)\n  (\S.*)", PAGE, re.MULTILINE)
    assert len(entries) == len(QUOTED) == PAGE.count("\n- ") > 25


def test_a_message_that_is_no_more_is_seen():
    assert not any(
        is_quoted_from(message, "this message ... is not there") for message in messages()
    )
