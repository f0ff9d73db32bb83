"""Files that appear together, once all of them are right, or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from mscn_plugin.errors import ConfigError
from mscn_plugin.files import remove_abandoned, staging_folder, sync


@contextlib.contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A folder whose files move to ``output`` where the block succeeds, and vanish where it fails.

    Raises:
        ConfigError: ``output`` is not a folder, and cannot become one.
    """
    existed = output.exists()
    try:
        with contextlib.ExitStack() as stack:
            try:
                output.mkdir(parents=True, exist_ok=True)
                remove_abandoned(output)
                folder = stack.enter_context(staging_folder(output))
            except OSError as error:
                raise ConfigError(f"--output {output} cannot be written to ({error})") from None
            yield folder
            for file in sorted(folder.iterdir()):
                sync(file)
            for file in sorted(folder.iterdir()):
                os.replace(file, output / file.name)
            sync(output)
    except BaseException:
        if not existed and output.is_dir():
            output.rmdir()
        raise
