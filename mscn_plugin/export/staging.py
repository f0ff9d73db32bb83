"""Files that appear together, once all of them are right, or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Iterator

from mscn_plugin.errors import ConfigError


@contextlib.contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A folder whose files move to ``output`` where the block succeeds, and vanish where it fails.

    Raises:
        ConfigError: ``output`` is not a folder, and cannot become one.
    """
    existed = output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=output, prefix=".exporting-")
    except OSError as error:
        raise ConfigError(f"--output {output} is no folder to write to ({error})") from None
    try:
        with scratch as folder:
            yield Path(folder)
            for file in sorted(Path(folder).iterdir()):
                os.replace(file, output / file.name)
    except BaseException:
        if not existed:
            output.rmdir()
        raise
