"""Types that several rooms use, and small checks of values. Imports nothing of this package."""

from __future__ import annotations

import math
import numbers
from collections.abc import ItemsView
from typing import Any, Protocol, cast


class Config(Protocol):
    """A configuration of VISSL or a section of one: an ``AttrDict``, whose keys are attributes.

    What a key holds is checked when a run starts (:mod:`mscn_plugin.config`), not by types.
    """

    def __getattr__(self, name: str) -> Any: ...

    def __setattr__(self, name: str, value: Any) -> None: ...

    def __getitem__(self, name: str) -> Any: ...

    def __setitem__(self, name: str, value: Any) -> None: ...

    def __contains__(self, name: object) -> bool: ...

    def get(self, name: str, default: Any = None) -> Any: ...

    def items(self) -> ItemsView[str, Any]: ...


class Task(Protocol):
    """The training task of VISSL; hooks read and set attributes that it declares nowhere."""

    config: Config
    hooks: list[Any]

    def __getattr__(self, name: str) -> Any: ...

    def __setattr__(self, name: str, value: Any) -> None: ...


def section_like(config: Config, content: dict[str, Any]) -> Config:
    """A section with ``content``, of the kind that ``config`` is."""
    return cast(Any, type(config))(content)


def is_number(value: Any) -> bool:
    """Whether a value is a number: neither True nor text, neither infinite nor NaN.

    NumPy's numbers are, too.
    """
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return number and bool(abs(value) < math.inf)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, NumPy's among them, and not True."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def value_at(section: Any, key: str) -> Any:
    """The value of a dotted key, ``DATA.TRAIN.DATA_PATHS`` for instance, or None without it."""
    for name in key.split("."):
        section = section.get(name) if isinstance(section, dict) else None
    return section
