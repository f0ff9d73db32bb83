"""What values a key of a configuration may have, and the words for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from mscn_plugin.errors import ConfigError
from mscn_plugin.types import is_number, is_whole


class Allowed(NamedTuple):
    """The values that a key may have.

    Attributes:
        words: what follows "it must be" in an error message.
        holds: whether a value is one of them.
    """

    words: str
    holds: Callable[[Any], bool]

    def check(self, key: str, value: Any) -> None:
        """Raise ConfigError, which names the key, unless the value is allowed."""
        if not self.holds(value):
            refuse(key, value, self.words)


def refuse(key: str, value: Any, wanted: str) -> None:
    """Raise ConfigError: the key has this value, and must have another."""
    raise ConfigError(f"{key} is {value!r}; it must be {wanted}")


def number(words: str, holds: Callable[[Any], bool]) -> Allowed:
    """Numbers that are finite, no True or False, and for which ``holds``."""
    return Allowed(words, lambda value: is_number(value) and holds(value))


def at_least(smallest: float) -> Allowed:
    """Numbers of at least ``smallest``."""
    return number(f"a number of at least {smallest}", lambda value: value >= smallest)


def whole(least: int) -> Allowed:
    """Whole numbers of at least ``least``."""
    words = f"a whole number of at least {least}"
    return Allowed(words, lambda value: is_whole(value) and value >= least)


def one_of(*values: Any) -> Allowed:
    """These values, by type, too: 0 and 1 equal False and True."""
    return Allowed(
        " or ".join(map(str, values)),
        lambda value: any(value == v and type(value) is type(v) for v in values),
    )


def either(one: Allowed, other: Allowed) -> Allowed:
    """Values that one of the two allows."""
    return Allowed(f"{one.words}, or {other.words}", lambda v: one.holds(v) or other.holds(v))


def list_of(entry: Allowed, lengths: Iterable[int] = (), ordered: bool = False) -> Allowed:
    """Lists whose entries are each allowed, of one of ``lengths`` (none: any above 0).

    Args:
        ordered: the smaller entries have to come first.
    """
    lengths = tuple(lengths)

    def holds(value: Any) -> bool:
        return (
            isinstance(value, (list, tuple))
            and bool(len(value) in lengths if lengths else value)
            and all(map(entry.holds, value))
            and (not ordered or list(value) == sorted(value))
        )

    count = f"of {' or '.join(map(str, lengths))} " if lengths else ""
    order = ", the smaller first" if ordered else ""
    return Allowed(f"a list {count}with entries that are each {entry.words}{order}", holds)


def checked_by(words: str, check: Callable[[Any], Any]) -> Allowed:
    """The values for which ``check`` raises no ValueError."""

    def holds(value: Any) -> bool:
        try:
            check(value)
        except ValueError:
            return False
        return True

    return Allowed(words, holds)


SWITCH = one_of(True, False)
TEXT = Allowed("text", lambda value: isinstance(value, str))
SOME_TEXT = Allowed("text", lambda value: TEXT.holds(value) and value != "")
NOT_NEGATIVE = number("at least 0 and finite", lambda value: value >= 0)
POSITIVE = number("a finite number above 0", lambda value: value > 0)
FRACTION = number("a number from 0 to 1", lambda value: 0 <= value <= 1)
BELOW_ONE = number("a number of at least 0 and below 1", lambda value: 0 <= value < 1)
ABOVE_ZERO_TO_ONE = number("a number above 0, at most 1", lambda value: 0 < value <= 1)
