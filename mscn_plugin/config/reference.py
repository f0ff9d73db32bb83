"""The reference page of ``config.MSCN``, from its schema.

python -m mscn_plugin.config.reference > docs/configuration.md
"""

from __future__ import annotations

import json

from mscn_plugin.schema import SCHEMA, Key, Section

_HEAD = """# Keys of `config.MSCN`

Written by `python -m mscn_plugin.config.reference` from `mscn_plugin/schema.py`.

Every config of this package has all of them: `config.MSCN.PICTURE_IMAGES=0` on the command line
overrides one. A config of your own inherits them, by `defaults: [/config/mscn/simclr, _self_]` for
instance; to one of VISSL's a key is added, by `+config.MSCN.DATA=<folder>`. A run resumes from its
checkpoints with other values of the keys that do not change its weights. With another value of one
that does, it is another run, which the same folder refuses.
"""


def page() -> str:
    """The page, in Markdown."""
    return _HEAD + _table("config.MSCN", SCHEMA)


def _table(path: str, section: Section) -> str:
    rows = [
        "| key | default | it must be | what it is | changes the weights |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| `{name}` | `{_in_yaml(key.default)}` | {key.allowed.words} | {key.comment} "
        f"| {'yes' if key.weights else 'no'} |"
        for name, key in section.items()
        if isinstance(key, Key)
    ]
    tables = [f"\n## `{path}`\n\n" + "\n".join(rows) + "\n"]
    tables += [
        _table(f"{path}.{name}", inner)
        for name, inner in section.items()
        if not isinstance(inner, Key)
    ]
    return "".join(tables)


def _in_yaml(value: object) -> str:
    plain = isinstance(value, bool) or (isinstance(value, str) and value != "")
    return str(value) if plain else json.dumps(value)


if __name__ == "__main__":
    print(page(), end="")
