"""Builds a part that a configuration names once, in the launching process.

VISSL builds transforms, collators, heads, optimizer and schedules in its workers. Most of them read
the keys that they know and silently ignore the others, and few check what they read. Here each part
is built from its section by its own code; the keys that this code reads are those that it knows,
for VISSL's parts and for a user's.
"""

from __future__ import annotations

import copy
import inspect
import logging
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mscn_plugin.allowed import SWITCH, TEXT, Allowed
from mscn_plugin.config.hydra_overrides import is_overridden
from mscn_plugin.errors import ConfigError, suggestion
from mscn_plugin.types import is_number, is_whole

_NO_KEYS = ("name", "self", "batch", "model_config", "num_updates")
"""Arguments of parts that do not come from their sections."""
_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


class RecordedSection(dict[str, Any]):
    """A section of a configuration that records which of its keys are read.

    Attributes:
        names: the keys so far. To iterate over the section is to read all of its keys.
    """

    def __init__(self, section: Mapping[str, Any]) -> None:
        super().__init__(section)
        self.names: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.names.add(key)
        return super().__getitem__(key)

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__") or key not in self:
            raise AttributeError(key)
        return self[key]

    def __contains__(self, key: Any) -> bool:
        self.names.add(key)
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().setdefault(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self.names.add(key)
        return super().pop(key, *default)

    def __iter__(self) -> Any:
        self.names.update(super().keys())
        return super().__iter__()

    def keys(self) -> Any:
        self.names.update(super().keys())
        return super().keys()

    def items(self) -> Any:
        self.names.update(super().keys())
        return super().items()

    def __copy__(self) -> RecordedSection:
        twin = RecordedSection(dict(super().items()))
        twin.names = self.names
        return twin

    copy = __copy__


def build(
    path: str,
    name: str,
    make: Callable[[Any], Any],
    section: Mapping[str, Any],
    part: Any,
    others: Iterable[str] = (),
    rules: Mapping[str, Allowed] = {},
    siblings: Iterable[Any] = (),
) -> Any:
    """Build a part from a copy of its section.

    Args:
        path: the section's key.
        name: of the part, as messages call it.
        make: builds the part from the section.
        part: the class or function whose signature says more of the values, or None.
        others: keys of the section that are also read elsewhere.
        rules: what the values of some keys must be, where the part reads them.
        siblings: parts that may take its place. Their keys remain where only a name is changed:
            this is not an error, and gives a warning where such a key is overridden.

    Raises:
        ConfigError: an unknown key, a wrong value, or whatever ``make`` raises.
    """
    parameters, recorded = parameters_of(part), RecordedSection(copy.deepcopy(dict(section)))
    error: Exception | None = None
    built = None
    try:
        built = make(recorded)
    except Exception as raised:
        error = raised
    unexpected = _UNEXPECTED.search(str(error))
    unknown = [unexpected[1]] if unexpected and unexpected[1] in section else []
    if unknown:  # an error names one of them
        unknown += [key for key in section if key not in {*parameters, *others, *unknown}]
    if error is None:
        unknown = [key for key in section if key not in recorded.names and key not in others]
    of_siblings = {key for sibling in siblings for key in parameters_of(sibling)}
    for key in unknown:
        if error is None and key in of_siblings:
            if is_overridden(f"{path}.{key}".removeprefix("config.")):
                logging.warning(f"{path}.{key} has no effect: {name} does not read it")
            continue
        known = {*parameters, *(recorded.names if error is None else ())} - {*unknown, *_NO_KEYS}
        meant = suggestion(key, known) if known else "it has none"
        raise ConfigError(
            f"{path}.{key} is not a key of {name}; {meant} ({_way_out(path, unknown)})"
        )
    if begins_with_a_key(error, section):
        raise ConfigError(f"{path}.{error}") from error
    for key, value in section.items():
        if key in recorded.names or (key in parameters and key not in others):
            _check_value(f"{path}.{key}", value, rules.get(key), parameters.get(key))
    if error is not None:
        read = {key: value for key, value in section.items() if key in recorded.names}
        raise refusal(path, read, name, error) from error
    return built


def _way_out(path: str, keys: list[str]) -> str:
    """What removes keys from a section of the config, with which Hydra merges what is given."""
    dotted = re.sub(r"\[(\d+)\]", r".\1", path)
    if path.endswith("COLLATE_FUNCTION_PARAMS") and len(keys) > 1:
        return f"{path}=null removes all, which {{}} does not"
    them = "it" if len(keys) == 1 else "them"
    way = f"{' '.join(f'~{dotted}.{key}' for key in keys)} removes {them}"
    in_list = re.match(r"(.*?)\[\d+\]", path)
    if in_list is None:
        return way
    return f"{way}; to replace an entry give the whole list, {in_list[1]}=[...]"


def begins_with_a_key(error: Exception | None, section: Mapping[str, Any]) -> bool:
    """Whether an error's message is that of a part of ours, which begins with the key."""
    return isinstance(error, ValueError) and str(error).split(" ")[0] in section


def refusal(path: str, value: Any, name: str, error: Exception) -> ConfigError:
    """The error for a value that ``name`` does not take, with its own message as the reason."""
    if isinstance(error, ConfigError):
        return error
    text = " ".join(str(error).split())
    if not isinstance(error, (AssertionError, ValueError)) or not text:
        text = f"{type(error).__name__}: {text}"
    return ConfigError(f"{path} is {value!r}, which {name} does not take: {text[:300]}")


def parameters_of(part: Any) -> dict[str, inspect.Parameter]:
    """The arguments of a class or function by name, their annotations as types."""
    if part is None:
        return {}
    try:
        parameters = inspect.signature(part).parameters
    except (TypeError, ValueError):  # of C
        return {}
    try:
        hints = typing.get_type_hints(part.__init__ if inspect.isclass(part) else part)
    except Exception:  # an annotation that names what is not there
        hints = {}
    return {
        name: parameter.replace(annotation=hints.get(name, parameter.empty))
        for name, parameter in parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


def _check_value(
    path: str, value: Any, rule: Allowed | None, parameter: inspect.Parameter | None
) -> None:
    if parameter is None and rule is None:
        return
    if value is None and parameter is not None:
        optional = type(None) in typing.get_args(parameter.annotation)
        if parameter.default is None or optional:
            return
    (rule or _kind_of(parameter)).check(path, value)


_KINDS: dict[Any, Allowed] = {
    bool: SWITCH,
    int: Allowed("a whole number", is_whole),
    float: Allowed("a number", is_number),
    str: TEXT,
}
_GIVEN = Allowed("given, or left out for the default", lambda value: value is not None)
# One, or one for each channel or side.
_NUMBERS = Allowed("a number", lambda v: v is not None and not isinstance(v, (bool, str)))


def _kind_of(parameter: Any) -> Allowed:
    """What a signature states about a value: by the annotation, or else by the default."""
    if parameter.annotation in _KINDS:
        return _KINDS[parameter.annotation]
    if isinstance(parameter.default, bool):
        return SWITCH
    return _NUMBERS if isinstance(parameter.default, (int, float)) else _GIVEN


def call_of(part: Any, *first: Any) -> Callable[[Any], Any]:
    """What stands for a call of ``part`` that is not made: its arguments have to fit."""
    signature = inspect.signature(part)
    return lambda given: signature.bind(*first, **given)
