"""Texts that users read have the field's words, in American spelling."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from mscn_plugin import cli

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
BRITISH = (
    r"(colour|behaviour|favour|neighbour|grey|centre|catalogue|cancelled|licence\b"
    r"|labell(ed(?!by)|ing)|modell(ed|ing)|travell(ed|ing)|analys(e|ed|ing)\b"
    r"|(final|general|initial|maxim|minim|normal|optim|organ|penal|quant|random|recogn|regular|serial"
    r"|solar|standard|summar|synchron|token|util|visual)is(e|ed|es|ing|ation)\b)"
)
WORDS = {
    "config": (
        r"\b(misspelled|no|own|ours|VISSL's|package's|paper's) pages?\b|\bpages? (of (BYOL|VISSL"
        r"|ours|`)|leaves|without|that writes)|\bpage's settings\b|settings are the page's"
    ),
    "error message": r"\b(one|a single) sentence\b",
    "sample or parameters": r"\b(an?|the|one|each|every|own|these|those|wise|random) draws?\b",
    "apply": r"\bfills? (it |them )?(with|by) (\w+ )?noise\b|\bfill the (masks?|views?)\b",
    "EMA update": r"\b(target|encoder)( network)?('s weights)? follows?\b",
    "complete or valid": r"\b(be|is|are|was|were|stay|found|read) whole\b(?! (numbers?|pixels))",
    "finished runs are skipped and interrupted ones resumed": r"done is not done again",
    "fails at startup": r"stops with one|with one \w+ before it starts",
    "label subset": r"\bparts? of the labels\b",
    "American spelling": BRITISH,
}


def private_words(text: str) -> list[str]:
    """What is in the text and should be said in other words, with these."""
    text = " ".join(text.replace("--licence", "").split())
    return [
        f"{found[0]}: {instead}"
        for instead, pattern in WORDS.items()
        for found in re.finditer(pattern, text, re.IGNORECASE)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_have_the_fields_words(page):
    assert private_words(page.read_text()) == []


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_has_the_fields_words(command):
    assert private_words(cli.command_parser(command, cli.Parser()).format_help()) == []


def test_messages_have_the_fields_words():
    """All texts of the package but docstrings."""
    said = []
    for file in sorted((ROOT / "mscn_plugin").rglob("*.py")):
        tree = ast.parse(file.read_text())
        alone = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = [] if id(node) in alone else private_words(node.value)
                said += [f"{file.relative_to(ROOT)}:{node.lineno}: {word}" for word in found]
    assert said == []


@pytest.mark.parametrize(
    "text",
    [
        "the settings are the page's, and no page of VISSL",
        "one sentence with the key",
        "masks of one draw and channel-wise draws",
        "the holes: fill them with noise",
        "the target follows after each step",
        "the file must be whole",
        "what is done is not done again",
        "parts of the labels",
        "normalised colours",
    ],
)
def test_private_words_are_seen(text):
    assert private_words(text)


@pytest.mark.parametrize(
    "text",
    [
        "this page lists each page of the site; a whole number, the whole picture",
        "mscn draw masks draws masks; fill in the form; follow the link; the example follows",
        "a sentence has words; precise, supervised, otherwise, raised, noise, promise",
    ],
)
def test_plain_english_is_left_alone(text):
    assert private_words(text) == []
