"""What is found while data are read: all of it in one list, each kind with its count."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mscn_plugin.errors import ConfigError

NUM_NOTED, NUM_REFUSED = 3, 100
"""So many places are named for each kind, and the others counted."""


@dataclasses.dataclass
class Kind:
    """How often something was found, and the first places."""

    count: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)


class Findings:
    """Defects and repairs by kind; a kind is a message that names the remedy.

    Attributes:
        refused: what must be fixed before anything starts.
        noted: what was repaired, left out or chosen.
    """

    def __init__(self) -> None:
        self.refused: dict[str, Kind] = {}
        self.noted: dict[str, Kind] = {}

    def refuse(self, kind: str, where: str) -> None:
        """Add a defect."""
        _add(self.refused, kind, where, NUM_REFUSED)

    def note(self, kind: str, where: str = "") -> None:
        """Add something to report that does not keep the training from starting."""
        _add(self.noted, kind, where, NUM_NOTED)

    def notes(self) -> list[str]:
        """A line for each kind that was noted."""
        return _lines(self.noted)

    def raise_refusals(self, folder: Path) -> None:
        """Raise ConfigError with all defects, and all that was noted, if there is a defect."""
        if not self.refused:
            return
        count = sum(kind.count for kind in self.refused.values())
        lines = [f"{folder}: defects to fix before training can start: {count}"]
        lines += _lines(self.refused)
        if self.noted:
            lines += ["also noted (these would not stop the training)", *self.notes()]
        raise ConfigError("\n".join(lines))


def _add(kinds: dict[str, Kind], name: str, where: str, most: int) -> None:
    kind = kinds.setdefault(name, Kind())
    kind.count += 1
    if where and len(kind.examples) < most:
        kind.examples.append(where)


def _lines(kinds: dict[str, Kind]) -> list[str]:
    lines = []
    for name, kind in kinds.items():
        more = kind.count - len(kind.examples)
        places = ", ".join(kind.examples) + (f" and {more} more" if more else "")
        lines.append(f"- {kind.count} x {name}: {places}" if kind.examples else f"- {name}")
    return lines
