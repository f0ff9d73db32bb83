"""Imports point one way: down the list of rooms, lazy imports included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mscn_plugin

PACKAGE = Path(mscn_plugin.__file__).parent

FLOORS = (
    ("errors", "files", "types", "warning_filters"),
    ("allowed",),
    ("masking",),
    ("data",),
    ("losses", "models", "transforms"),
    ("schema",),
    ("checkpoints",),
    ("config",),
    ("training",),
    ("runs",),
    ("export",),
    ("evaluation", "detection"),
    ("experiments",),
    ("report",),
    ("vissl",),
    ("cli",),
)
"""Rooms of the package, the lowest first. Those of one floor do not import each other."""

ROOMS = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def rooms_imported(path: Path) -> set[str]:
    """Rooms of the package that a module imports from, at its top or within functions."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: a relative import"
    parts = [name.split(".") for name in names if name.split(".")[0] == "mscn_plugin"]
    return {part[1] for part in parts if len(part) > 1 and part[1] in ROOMS}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_lower_rooms_alone(path):
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    assert room in ROOMS, f"{room} is no room: say in FLOORS where it lies"
    upwards = {other for other in rooms_imported(path) - {room} if ROOMS[other] >= ROOMS[room]}
    assert not upwards, f"{path.relative_to(PACKAGE)} imports {sorted(upwards)}"
