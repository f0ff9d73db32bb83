"""One export: from a checkpoint to checked files and their card."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Callable, List, NamedTuple, Sequence, Tuple

from mscn_plugin.errors import ConfigError
from mscn_plugin.export.check import check, check_samples
from mscn_plugin.export.detectron2_weights import export_detectron2
from mscn_plugin.export.export import Export
from mscn_plugin.export.graphs import export_onnx, export_torchscript
from mscn_plugin.export.model_card import CARD_FILE, CheckedFile, model_card
from mscn_plugin.export.pretrained import Pretrained
from mscn_plugin.export.resnet_weights import export_timm, export_torchvision
from mscn_plugin.export.results import Result
from mscn_plugin.export.staging import staged


class Format(NamedTuple):
    """How to export to a format, and the libraries that it takes beside the package's own."""

    export: Callable[[Pretrained, Path], Export]
    libraries: Tuple[str, ...]


FORMATS = {
    "torchvision": Format(export_torchvision, ("safetensors",)),
    "timm": Format(export_timm, ("safetensors", "timm")),
    "detectron2": Format(export_detectron2, ("safetensors",)),
    "torchscript": Format(export_torchscript, ()),
    "onnx": Format(export_onnx, ("onnx", "onnxruntime")),
}


def export_trunk(
    pretrained: Pretrained,
    formats: Sequence[str],
    output: Path,
    results: Sequence[Result] = (),
    licence: str = "not stated",
) -> List[CheckedFile]:
    """Export a trunk to ``formats``, check every file and write ``model_card.md`` beside them.

    Nothing is written where one of the formats fails. Files of an earlier export are replaced,
    but for those of formats that are not among ``formats``: one card describes one export.

    Args:
        formats: keys of :data:`FORMATS`.
        output: a folder, which is made where it does not exist.
        results: of evaluations, for the card.
        licence: of the weights, for the card.

    Returns:
        The files, with what their checks measured.

    Raises:
        ConfigError: a library is missing, a format has no such architecture, a file's features
            are not VISSL's, or the output is no folder.
    """
    check_libraries(formats)
    samples = check_samples(pretrained)
    with staged(output) as folder:
        exports = {name: FORMATS[name].export(pretrained, folder) for name in formats}
        files = [
            CheckedFile.of(folder / file, check(file, reader, samples))
            for export in exports.values()
            for file, reader in export.readers.items()
        ]
        loading = {name: export.loading for name, export in exports.items()}
        card = model_card(pretrained, files, loading, results, licence)
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
    return files


def check_libraries(formats: Sequence[str]) -> None:
    """Raise ConfigError if a library that ``formats`` take is not installed."""
    wanted = dict.fromkeys(library for name in formats for library in FORMATS[name].libraries)
    missing = [library for library in wanted if importlib.util.find_spec(library) is None]
    if missing:
        names = " ".join(missing)
        raise ConfigError(
            f"--format {' '.join(formats)} needs {names}: pip install --no-deps -r "
            f"requirements/export.txt, or pip install {names}"
        )
