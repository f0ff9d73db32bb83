"""Every command and every piece of Python in README.md and docs/ does what it says.

A block of commands runs here, in an empty folder and with overrides that make its training one of
seconds. One behind a line ``<!-- needs: ImageNet -->`` does not: its arguments are parsed, and the
configurations of VISSL's tool are composed and checked as the tool does at its start. Python runs
as it stands, and what the commands of a section register is there for its later commands.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import skimage.data
from conftest import BYOL_HEADS, TINY, run_python, tool
from PIL import Image

from mscn_plugin import cli
from mscn_plugin.cli.train import overrides_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARK = re.compile(r"<!-- needs: ([^<>]+) -->$")
SHELL = ("sh", "bash", "shell", "console")
PROGRAMS = ("mscn", "python", "pip", "make")
OF_GPUS = ("+config/mscn/machine=", "+config/mscn/memory=amp")
VISSL = ["python", "-m", "tools.run_distributed_engines"]


class Block(NamedTuple):
    """A block of code: its language, what it needs, the paragraph before it, and its section."""

    language: str
    needs: str
    before: str
    section: str
    text: str


def blocks_of(markdown: str) -> Iterator[Block]:
    """The blocks of a page, fenced ones and those that are indented and hold commands."""
    before = section = ""
    continued = False
    lines = iter(markdown.splitlines())
    for line in lines:
        fence = re.match(r"( *)(```+)(\w*)", line)
        indented = re.match(rf"    ({'|'.join(PROGRAMS)}) ", line) and not before.startswith(" ")
        if not fence and not indented:
            section = line if line.startswith("#") else section
            if line.strip():
                before = f"{before} {line}" if continued else line
            continued = bool(line.strip())
            continue
        text, end = ([], fence[1] + fence[2]) if fence else ([line], "")
        for inner in lines:
            if inner.rstrip() == end:
                break
            text.append(inner)
        needs = MARK.search(before)
        language = fence[3] if fence else "sh"
        yield Block(language, needs[1] if needs else "", before, section, "\n".join(text))
        before, continued = "", False


def commands_of(block: Block) -> list[list[str]]:
    """The words of each command, without what it is piped into."""
    lines = block.text.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line.partition(" | ")[0], comments=True) for line in lines]
    return [words for words in commands if words]


def of(*languages: str) -> list[Path]:
    """The pages with blocks of these languages."""
    return [p for p in PAGES if {b.language for b in blocks_of(p.read_text())} & {*languages}]


def overrides_in(words: list[str]) -> list[str]:
    """What VISSL's tool is told by a command that trains; else nothing."""
    if words[:2] == ["mscn", "train"]:
        return overrides_of(cli._parse(cli.mscn_parser(), words[1:]))
    return words[3:] if words[:3] == VISSL else []


def tiny(words: list[str]) -> list[str]:
    """What makes a command one of seconds, of keys that it does not have itself."""
    overrides = overrides_in(words)
    if words[:2] == ["mscn", "evaluate"]:
        few = "config.DATA.NUM_DATALOADER_WORKERS=0", "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=4"
        return ["--overrides", *few, "config.OPTIMIZER.num_epochs=2"]
    if words[:2] == ["mscn", "export"]:
        return ["--format", "torchscript"]
    if words[:3] == ["mscn", "draw", "experiments"] and "--conditions" not in words:
        return ["--conditions", "cells-zeros"]
    if not overrides:
        return []
    added = [*TINY, "config.MSCN.DATA=data/my_images"]
    if "byol" in overrides[0]:
        added.append(BYOL_HEADS)
    if "simclr" in overrides[0]:
        added = [TINY[0], "config.MODEL.TRUNK.RESNETS.WIDTH_PER_GROUP=4"]
        added += ["config.DATA.TRAIN.TRANSFORMS.1.size=64"]
    own = {override.split("=")[0] for override in overrides}
    return [override for override in added if override.split("=")[0] not in own]


@pytest.fixture
def world(image_folder, checkpoints, tmp_path):
    """A folder with what commands name: runs, images, a result file; and a way to run in it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "my_images").symlink_to(image_folder)
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "photo.jpg")
    (tmp_path / "docs").mkdir()
    for results in (ROOT / "docs").glob("results*.json"):
        shutil.copy(results, tmp_path / "docs")

    def run(words: list[str], code: str = "") -> None:
        if not overrides_in(words):
            for name in re.findall(r"\bruns/\w+", " ".join(words)):
                if not (tmp_path / name).exists():
                    run_of = checkpoints["byol" if "byol" in name else "simclr"]
                    shutil.copytree(run_of, tmp_path / name)
        words = [*words, *tiny(words)]
        words = [word.replace("/data/", "data/") for word in words]
        if ">" in words:
            words = words[: words.index(">")]
        if words[:3] == VISSL:
            run_python(*tool(), *words[3:], cwd=tmp_path)
        elif words[0] == "python":
            run_python(*words[1:], cwd=tmp_path)
        else:
            assert words[0] == "mscn", f"{shlex.join(words)}: mark what it needs"
            code += "\nimport sys\nfrom mscn_plugin.cli import main\nmain(sys.argv[1:])"
            run_python("-W", "ignore", "-c", code, *words[1:], cwd=tmp_path)

    run.folder = tmp_path
    return run


@pytest.mark.process
@pytest.mark.parametrize("page", of(*SHELL, "python", "yaml"), ids=lambda page: page.stem)
def test_what_needs_nothing_runs(page, world):
    code: dict[str, str] = {}
    waiting: list[str] = []  # code that no command has run yet

    def run_waiting() -> None:
        while waiting:
            run_python("-W", "ignore", "-c", waiting.pop(), cwd=world.folder)

    for block in blocks_of(page.read_text()):
        if block.needs or (page.name == "README.md" and block.language == "python"):
            continue  # test_library_use.py runs the README's
        if block.language == "python":
            if block.section not in code:
                run_waiting()
            code[block.section] = code.get(block.section, "") + block.text + "\n"
            waiting[:] = [code[block.section]]
        elif block.language == "yaml":
            file = world.folder / re.search(r"`(configs/[^`]+\.yaml)`", block.before)[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
            name = file.relative_to(world.folder / "configs" / "config").with_suffix("")
            world(["mscn", "configs", "show", str(name)])
        elif block.language in SHELL:
            for words in commands_of(block):
                of_section = code.get(block.section, "")
                if words[0] == "mscn" and waiting == [of_section]:
                    waiting.clear()  # it runs with the command
                run_waiting()
                world(words, of_section)
    run_waiting()


@pytest.mark.parametrize("page", of(*SHELL), ids=lambda page: page.stem)
def test_what_needs_more_is_parsed_and_its_configuration_composed_and_checked(
    page, compose, large_folder, script_signals, stand_in_for_slurm
):
    from vissl.utils.hydra_config import compose_hydra_configuration

    for block in blocks_of(page.read_text()):
        if block.language not in SHELL or not block.needs:
            continue
        for words in commands_of(block):
            check_arguments(words)
            overrides = [re.sub(r"=/data/\w+", f"={large_folder}", o) for o in overrides_in(words)]
            if any("PARAMS_FILE" in override for override in overrides):
                compose_hydra_configuration(overrides)  # there is no such checkpoint
            elif any("SLURM" in override for override in overrides):
                compose(*overrides)
            elif overrides:
                anywhere = [o for o in overrides if not o.startswith(OF_GPUS)]
                compose(*anywhere, "+config/mscn/machine=cpu")


def check_arguments(words: list[str]) -> None:
    """Parse what ``mscn`` is told; of other programs, see that what they name is there."""
    if words[0] == "mscn":
        cli._parse(cli.mscn_parser(), words[1:])
    elif words[0] == "make":
        for target in words[1:]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2])
    elif words[0] in ("python", "pip"):
        files = [word for word in words if re.fullmatch(r"\w+/[\w/]+\.\w+", word)]
        assert all((ROOT / file).is_file() for file in files), words


def test_blocks_of_commands_are_seen():
    """By fences and by indentation, with what they need, and no other ones."""
    page = (
        "# A\n<!-- needs: ImageNet, minutes -->\n```sh\nmscn train mscn/simclr \\\n    A=1  # why\n"
        "```\n\n    pip install x\n\n- a list\n\n      mscn\n\n## B\n```python\nimport torch\n```\n"
    )
    first, second, third = blocks_of(page)
    assert (first.needs, first.section) == ("ImageNet, minutes", "# A")
    assert commands_of(first) == [["mscn", "train", "mscn/simclr", "A=1"]]
    assert (second.needs, commands_of(second)) == ("", [["pip", "install", "x"]])
    assert (third.language, third.section, third.text) == ("python", "## B", "import torch")
    with pytest.raises(SystemExit):
        check_arguments(["mscn", "train"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_a_sentence_are_commands(page):
    known = {word for command in cli.COMMANDS for word in command.split()[:1]} | {"COMMAND"}
    assert {*re.findall(r"`mscn (\w+)", page.read_text())} <= known
