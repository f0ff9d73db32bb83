"""Metadata, pins, and the files of the repository that repeat what is said elsewhere."""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

import tomllib
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mscn_plugin
from mscn_plugin.cli import doctor

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
BY_HAND = {
    "vissl": "its pins of 2021 cannot be met: mscn doctor --fix",
    "classy_vision": "comes after VISSL: mscn doctor --fix",
    "fairscale": "a part of VISSL's wheel",
    "detectron2": "not on PyPI: mscn doctor --fix",
}
"""What is imported and cannot be declared, and why."""
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "PIL": "pillow", "yaml": "pyyaml"}
DISTRIBUTIONS |= {"skimage": "scikit-image", "sklearn": "scikit-learn", "hydra": "hydra-core"}
DISTRIBUTIONS |= {"mlflow": "mlflow-skinny", "pkg_resources": "setuptools"}
"""Of modules that are called otherwise."""


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def imported(folder: Path) -> set[str]:
    """The distributions that the modules of a folder import, within functions, too."""
    modules = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module)
    tops = {module.partition(".")[0] for module in modules}
    return {DISTRIBUTIONS.get(top, top) for top in tops - sys.stdlib_module_names}


def pins() -> dict[str, str]:
    lines = "\n".join(path.read_text() for path in (ROOT / "requirements").glob("*.txt"))
    return {canonicalize_name(n): v for n, v in re.findall(r"^([\w.-]+)==([\w.]+)", lines, re.M)}


def test_all_that_is_imported_is_declared():
    ours = imported(ROOT / "mscn_plugin") | imported(ROOT / "hydra_plugins")
    declared = names(PROJECT["dependencies"])
    for_some = names(
        EXTRAS["export"] + EXTRAS["detection"] + EXTRAS["parquet"] + EXTRAS["tracking"]
    )
    assert ours - declared - for_some == {*BY_HAND, "mscn_plugin"}
    packages = Path(sys.modules["torch"].__file__).parents[1]
    vissls = imported(packages / "vissl") | imported(packages / "classy_vision")
    assert declared - ours - vissls == set()


def test_what_formats_take_is_the_extra():
    assert {name for needed in doctor.LIBRARIES.values() for name in needed} == set(
        EXTRAS["export"]
    )


def test_the_installed_metadata_is_the_projects():
    assert metadata.version("mscn-plugin") == mscn_plugin.__version__
    assert names(doctor.requirements()) >= names(PROJECT["dependencies"])


def test_pins_are_in_the_declared_ranges():
    pinned = pins()
    for extra, texts in {"": PROJECT["dependencies"], **EXTRAS}.items():
        for text in texts:
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            if name in pinned:
                assert requirement.specifier.contains(pinned[name]), text
            else:  # a range of its own, or pinned by what asks for it
                assert name in ("setuptools", "pyyaml") or extra == "tracking", name
    for text in doctor.VISSL:
        assert f"=={pinned[canonicalize_name(Requirement(text).name)]}" in text


def test_pythons_of_the_classifiers_are_those_of_the_tests():
    from test_interpreters import VERSIONS

    found = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert tuple(found) == VERSIONS
    assert PROJECT["requires-python"] == f">={VERSIONS[0]}"


def test_hooks_of_pre_commit_are_the_environments():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert hooks[0]["rev"] == f"v{pins()['ruff']}"
    assert {hook["id"] for repo in hooks for hook in repo["hooks"]} == {
        *("ruff-check", "ruff-format", "mypy")
    }


def test_the_public_ci_calls_targets_of_make():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {command.split()[1] for command in commands} == {"test", "check"}
    assert {"test", "check"} <= set(targets)
    matrix = jobs["check"]["strategy"]["matrix"]["python-version"]
    assert all(f"Programming Language :: Python :: {v}" in PROJECT["classifiers"] for v in matrix)


def test_the_citation_holds():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["title"] == PROJECT["name"]
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]
    paper = citation["preferred-citation"]
    assert paper["title"] == "Masked Siamese ConvNets"
    assert [author["family-names"] for author in paper["authors"]] == ["Jing", "Zhu", "LeCun"]
    assert (paper["year"], paper["url"]) == (2022, PROJECT["urls"]["Paper"])


def test_the_changelog_has_the_usual_headings():
    _, *versions = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert versions[0].startswith("Unreleased\n")
    for text in versions:
        headings = re.findall(r"^### (.*)$", text, re.MULTILINE)
        assert len(headings) == len(set(headings))
        assert set(headings) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_nothing_that_is_installed_points_into_the_repository():
    """Messages, help and comments of configs: who reads them may have the package alone."""
    texts = {path: path.read_text() for path in (ROOT / "configs").rglob("*.yaml")}
    for path in (ROOT / "mscn_plugin").rglob("*.py"):
        shown = ast.get_docstring(ast.parse(path.read_text())) if path.parent.name == "cli" else ""
        texts[path] = "\n".join([shown or "", *strings(path)])
    pointer = re.compile(
        r"README|CONTRIBUTING|SECURITY\.md|\bdocs/|extra_scripts/|requirements/"
        r"|\bmake (?:demo|test|check|setup|gpu|benchmarks)\b"
    )
    found = {str(path.relative_to(ROOT)): pointer.findall(text) for path, text in texts.items()}
    assert {path: words for path, words in found.items() if words} == {}


def strings(path: Path) -> list[str]:
    """The strings of a module that are not statements of their own, as docstrings are."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    constants = [n for n in nodes if isinstance(n, ast.Constant) and id(n) not in docstrings]
    return [node.value for node in constants if isinstance(node.value, str)]
