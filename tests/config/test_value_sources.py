"""Every value of the configs that decides what is learned or measured has its source beside it.

A source is a section, table, figure or supplement of the paper, a reference or library, or "not
stated in the paper" with a reason, in a comment on the value's line, directly above it, or at a
section that holds it. Inherited values are judged in the file that sets them.
"""

from __future__ import annotations

import re

import pytest
import yaml

from mscn_plugin.config.folder import config_folder

FOLDER = config_folder() / "config" / "mscn"
FILES = [path for path in sorted(FOLDER.rglob("*.yaml")) if path.name != "_schema.yaml"]
FREE = (
    *("CHECKPOINT", "DISTRIBUTED", "HOOKS", "LOG_FREQUENCY", "MACHINE", "METERS", "VERBOSE"),
    *("MULTI_PROCESSING_METHOD", "TEST_EVERY_NUM_EPOCH", "TEST_MODEL", "TEST_ONLY", "TRAINER"),
    *("DATA.NUM_DATALOADER_WORKERS", "MSCN.DATA", "MSCN.PICTURE_IMAGES", "MSCN.PRETRAINING_SIGMA"),
    *("MSCN.FROZEN_EVALUATIONS", "MSCN.ONLINE_EVALUATION", "MODEL.WEIGHTS_INIT.PARAMS_FILE"),
    *(
        f"DATA.{split}.{key}"
        for split in ("TRAIN", "TEST")
        for key in ("DATA_SOURCES", "LABEL_SOURCES", "DATASET_NAMES", "MMAP_MODE")
    ),
    *(f"DATA.{split}.COPY_TO_LOCAL_DISK" for split in ("TRAIN", "TEST")),
)
"""Keys of the machine, of logs and files, and of where the data are: no values of a method."""
OF_ALL = re.compile(r"[Aa]ll\s+(#\s*)?values\s+are")
"""In the comment at a file's head: it speaks for the file."""
SOURCE = re.compile(
    r"\b(sections? \d|Tables? \d|Figure \d|A\.[1-4]|4\.[1-6]\b|5\.[1-3]\b|as (above|in) )"
    r"|\[(11|25|51)\]|\b(SimCLR|BYOL|Barlow Twins|VICReg|MoCo|SwAV|SimSiam|DINO|VISSL)\b"
    r"|\bnot (stated )?in the paper[:;,] \w|\b(ours|chosen)[:,]|\bours$",
)


def keys(node, path=(), lines=()):
    """Each scalar's key, and the lines of the keys and list entries that lead to it."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from keys(value, (*path, key.value), (*lines, key.start_mark.line))
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from keys(value, path, (*lines, value.start_mark.line))
    else:
        yield ".".join(path), (*lines, node.start_mark.line)


def comments(text, line):
    """The comment on a line, and those directly above it."""
    said = []
    above = line - 1
    while above >= 0 and text[above].lstrip().startswith("#"):
        said.insert(0, text[above])
        above -= 1
    return " ".join(part.partition("#")[2].strip() for part in [*said, text[line]] if "#" in part)


def unsourced(file_text):
    """The keys below ``config`` of a file that have no source."""
    text = file_text.splitlines()
    head = comments(text, next(i for i, line in enumerate(text) if not line.startswith("#")))
    if OF_ALL.search(head):
        return []
    root = yaml.compose(file_text)
    (config,) = [value for key, value in root.value if key.value == "config"] or [None]
    if config is None:
        return []
    return sorted(
        {
            key
            for key, lines in keys(config)
            if not any(key == free or key.startswith(f"{free}.") for free in FREE)
            and not any(SOURCE.search(comments(text, line)) for line in set(lines))
        }
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_every_value_has_its_source_beside_it(path):
    assert unsourced(path.read_text()) == []


def test_a_value_without_a_source_is_found():
    page = "# @package _global_\nconfig:\n  A:  # Table 5\n    a: 1\n  B: {b: 1}   # a number\n"
    assert unsourced(page) == ["B.b"]
    assert unsourced(page.replace("a number", "not stated in the paper")) == ["B.b"]
    assert unsourced(page.replace("a number", "not stated in the paper: the least")) == []
    assert unsourced(page.replace("  B:", "  # A.1\n  B:")) == []
    assert unsourced(page.replace("_global_", "_global_\n# All values are ours.")) == []
