"""One export: from a checkpoint to checked files and their card."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from mscn_plugin.errors import ConfigError, in_one_line
from mscn_plugin.export.check import Sample, check, check_samples
from mscn_plugin.export.detectron2_weights import export_detectron2
from mscn_plugin.export.export import Export
from mscn_plugin.export.formats import FILES, LIBRARIES
from mscn_plugin.export.model_card import CARD_FILE, CheckedFile, model_card
from mscn_plugin.export.pretrained import Pretrained
from mscn_plugin.export.results import Results
from mscn_plugin.export.staging import staged
from mscn_plugin.export.torchscript_onnx import export_onnx, export_torchscript
from mscn_plugin.export.torchvision_timm import export_timm, export_torchvision

EXPORTERS: dict[str, Callable[[Pretrained, Path], Export]] = {
    "torchvision": export_torchvision,
    "timm": export_timm,
    "detectron2": export_detectron2,
    "torchscript": export_torchscript,
    "onnx": export_onnx,
}
"""How to export to a format."""


def export_trunk(
    pretrained: Pretrained,
    formats: Sequence[str],
    output: Path,
    results: Results | None = None,
    license: str = "not stated",
) -> tuple[list[CheckedFile], dict[str, str]]:
    """Export a trunk to ``formats``, check every file and write ``model_card.md`` beside them.

    A format that fails has no files, and nothing is written where all of them fail. Files of an
    earlier export are replaced, but for those of formats that are not exported now: one card
    describes one export.

    Args:
        formats: keys of :data:`EXPORTERS`.
        output: a folder, which is made where it does not exist.
        results: of evaluations, for the card.
        license: of the weights, for the card.

    Returns:
        The files, with what their checks measured, and by format why there are none of it.

    Raises:
        ConfigError: no format could be exported, or the output is no folder.
    """
    samples = check_samples(pretrained)
    files: list[CheckedFile] = []
    loading: dict[str, str] = {}
    refused: dict[str, str] = {}
    with staged(output) as folder:
        for name in dict.fromkeys(formats):
            try:
                export, checked = export_format(pretrained, name, folder, samples)
            except ConfigError as error:
                refused[name] = str(error)
                continue
            except Exception as error:  # a format's library has errors of its own
                refused[name] = in_one_line(f"{type(error).__name__}: {error}")
                continue
            files += checked
            loading[name] = export.loading
        if not files:
            raise ConfigError("; ".join(refused.values()))
        card = model_card(pretrained, files, loading, results, license)
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
    return files, refused


def left_from_before(output: Path, files: Sequence[CheckedFile]) -> list[str]:
    """The names of files of an earlier export, perhaps of another trunk, beside ``files``."""
    new = {file.name for file in files}
    return [name for name in FILES if name not in new and (output / name).is_file()]


def export_format(
    pretrained: Pretrained, name: str, output: Path, samples: Sequence[Sample]
) -> tuple[Export, list[CheckedFile]]:
    """Export a trunk to one format and check every file; ``output`` gets all of them or none.

    Raises:
        ConfigError: a library is missing, the format has no such architecture, or a file's
            features are not VISSL's.
    """
    check_libraries(name)
    with staged(output) as folder:
        export = EXPORTERS[name](pretrained, folder)
        checked = [
            CheckedFile.of(folder / file, check(file, reader, samples))
            for file, reader in export.readers.items()
        ]
    return export, checked


def check_libraries(name: str) -> None:
    """Raise ConfigError if a library that a format takes is not installed."""
    missing = [lib for lib in LIBRARIES[name] if importlib.util.find_spec(lib) is None]
    if missing:
        names = " ".join(missing)
        raise ConfigError(f"--format {name} needs {names}: pip install {names}")
