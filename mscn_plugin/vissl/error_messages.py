"""Messages of errors in VISSL's tools: ours, and those of Hydra's command line.

Nothing here is heavy: it is imported while Hydra starts, and where it has failed.
"""

from __future__ import annotations

import re
import sys

from mscn_plugin import errors
from mscn_plugin.vissl import command_line


def print_errors_plainly() -> None:
    """Let an uncaught error that a user can act on end the process with one line.

    Besides ours, these are Hydra's about overrides and configurations that it does not know.
    """
    errors.print_errors_plainly(message_of)


def message_of(error: BaseException) -> str | None:
    """The message of an error of ours or of Hydra's, in one line, or None for all others."""
    message = errors.message_of(error)
    from_hydra = type(error).__module__.partition(".")[0] in ("hydra", "omegaconf")
    return _of_hydra(error) if message is None and from_hydra else message


def _of_hydra(error: BaseException) -> str:
    """What Hydra says, and what it leaves the user to find out."""
    text = str(error)
    of_configs = command_line.about_configs(text)
    if of_configs is not None:
        return of_configs
    unknown = re.search(r"Could not override '(config\.[\w.]+)'", text)
    if unknown and "vissl" in sys.modules:
        from mscn_plugin.config.checks.keys import meant_by

        entry = re.fullmatch(r"(.*(?:TRANSFORMS|PARAMS))\.\d+", unknown[1])
        if entry:
            all_of_it = f"no entry of a list can: give the whole list, {entry[1]}=[...]"
            return f"{errors.in_one_line(text)}; {all_of_it}"
        meant = meant_by(unknown[1])  # Hydra's own hint would add the misspelled key
        return f"Could not override '{unknown[1]}'{meant}" if meant else errors.in_one_line(text)
    sweep = re.search(r"Ambiguous value for argument '(.*)'", text)
    override = getattr(error, "override", None) or (sweep[1] if sweep else "")
    return command_line.about_grammar(override, sys.argv) or errors.in_one_line(text)
