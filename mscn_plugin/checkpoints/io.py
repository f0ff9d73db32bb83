"""Reading VISSL's checkpoints for all that follows pre-training, without running their code."""

from __future__ import annotations

import json
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any, TypeGuard

import torch
import yaml
from torch import Tensor

from mscn_plugin.errors import ConfigError
from mscn_plugin.files import replacing

SIGMA_KEY = "mscn_high_pass_sigma"
"""Where ``mscn_task`` puts pre-training's sigma, in the ``classy_state_dict`` of a checkpoint."""
CONFIG_KEY = "mscn_config"
"""Where ``mscn target`` puts the run's configuration, as JSON, beside the sigma."""
TRUSTED = "; pass --trusted if it is your own"
"""The hint of scripts that have the option."""
VISSL_UNPICKLES = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6)
"""Whether VISSL itself, on this PyTorch, unpickles whatever a checkpoint holds."""
_MAX_VALUES = 100_000  # in a configuration; VISSL's have some 500
_WRAPPER = "base_model."  # what VISSL puts around the trunk of a linear evaluation


class CheckpointError(ConfigError):
    """A file that is not the checkpoint it should be: the message starts with the file."""


def load_checkpoint(
    path: str | Path, trusted: bool = False, hint: str = "", checksums: bool = False
) -> dict[str, Any]:
    """Load a checkpoint of VISSL on the CPU, its tensors mapped from the file where possible.

    All of the file is read first, for its checksums (about 1 s per GB): a damaged weight is an
    error, not another weight.

    Args:
        trusted: load by pickle, which can run code that the file holds.
        hint: what the error says of a file that needs it, such as :data:`TRUSTED`.
        checksums: refuse a file that has none.

    Raises:
        CheckpointError: it is not a file, not a checkpoint, damaged, or would need ``trusted``.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; it must be a checkpoint of VISSL")
    options: dict[str, Any] = {}
    archive = check_archive(path)
    if checksums and not archive:
        raise CheckpointError(f"{path} is damaged, or in PyTorch's old format, without checksums")
    if archive:
        options["mmap"] = True
    try:
        checkpoint = torch.load(str(path), map_location="cpu", weights_only=not trusted, **options)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} holds more than the tensors and plain values that PyTorch {torch.__version__} "
            f"loads without running code{hint}"
        ) from None
    except Exception as error:
        raise CheckpointError(
            f"{path} is damaged, or not a checkpoint of PyTorch ({type(error).__name__})"
        ) from None
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} holds no dictionary; it must be a checkpoint of VISSL")
    return checkpoint


def check_archive(path: Path) -> bool:
    """Check the archive that a checkpoint is; returns whether it is one.

    Files of PyTorch before 1.6 are none, and have no checksums.

    Raises:
        CheckpointError: a checksum does not hold; members are compressed, which PyTorch's mapped
            tensors would take for weights; or it is a program of TorchScript or a tar archive,
            for which older versions of PyTorch leave their loading without code.
    """
    try:
        if not zipfile.is_zipfile(path):
            if tarfile.is_tarfile(path):
                raise CheckpointError(f"{path} is a tar archive; it must be a checkpoint of VISSL")
            return False
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise CheckpointError(
                    f"{path} is damaged, or was compressed after it was written: PyTorch stores "
                    "the members of a checkpoint as they are"
                )
            damaged = archive.testzip()
    except CheckpointError:
        raise
    except Exception as error:  # damage makes this library raise whatever it may
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}: {error})") from None
    if damaged is not None:
        raise CheckpointError(f"{path} is damaged (the checksum of {damaged!r} does not hold)")
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise CheckpointError(f"{path} is a program of TorchScript; it must be a checkpoint")
    return True


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write ``content`` by ``torch.save`` so that a reader never sees half of it."""
    # By its name alone, PyTorch refuses a file without a suffix.
    with replacing(path) as file, file.open("wb") as stream:
        torch.save(content, stream)


def trunk_weights(checkpoint: dict[str, Any], path: str | Path) -> dict[str, Tensor]:
    """The trunk's tensors by the names of VISSL's trunk (``_feature_blocks...``).

    Args:
        path: the checkpoint's file, for the error.

    Raises:
        CheckpointError: the checkpoint has no trunk.
    """
    trunk: Any = checkpoint
    for key in ("classy_state_dict", "base_model", "model", "trunk"):
        trunk = trunk.get(key) if isinstance(trunk, dict) else None
    if not trunk or not isinstance(trunk, dict):
        raise CheckpointError(
            f"{path} has no trunk under classy_state_dict.base_model.model; it must be a "
            "checkpoint of VISSL"
        )
    return {
        name[len(_WRAPPER) :] if name.startswith(_WRAPPER) else name: tensor
        for name, tensor in trunk.items()
    }


def epochs_of(checkpoint: dict[str, Any]) -> int | None:
    """How many epochs a checkpoint has seen, or None where it does not state it."""
    phase = checkpoint.get("train_phase_idx")
    return phase + 1 if isinstance(phase, int) else None


def training_config(
    path: str | Path, checkpoint: dict[str, Any] | None = None, follow: bool = True
) -> dict[str, Any] | None:
    """The configuration of the run that wrote a checkpoint, which VISSL puts beside it.

    Args:
        checkpoint: what ``path`` holds: a configuration of its own is the one to read.
        follow: look beside the checkpoint itself, not beside links to it.

    Returns:
        The ``config`` part, or None where it is in neither place.

    Raises:
        CheckpointError: what is there is not a configuration.
    """
    if _has_config(checkpoint):
        return _config_within(checkpoint["classy_state_dict"][CONFIG_KEY], path)
    beside = _beside(path, follow)
    return read_yaml(beside) if beside.is_file() else None


def config_source(path: str | Path, checkpoint: dict[str, Any] | None = None) -> Path:
    """The file that :func:`training_config` reads: a checkpoint with its own, or that beside it."""
    beside = _beside(path)
    return beside if beside.is_file() and not _has_config(checkpoint) else Path(path)


def _has_config(checkpoint: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    state = (checkpoint or {}).get("classy_state_dict")
    return isinstance(state, dict) and CONFIG_KEY in state


def _beside(path: str | Path, follow: bool = True) -> Path:
    place = Path(path).resolve() if follow else Path(path)
    return place.parent / "train_config.yaml"


def _config_within(text: object, path: str | Path) -> dict[str, Any]:
    try:
        content = json.loads(text) if isinstance(text, str) else None
        _check_size(content)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds something else under {CONFIG_KEY} than sections")
    return content


def last_epoch(folder: Path) -> int | None:
    """Index of the last epoch of the run in ``folder``, or None without its configuration."""
    try:
        config = training_config(folder / "checkpoint.torch", follow=False)
        return int(config["OPTIMIZER"]["num_epochs"]) - 1 if config else None
    except (CheckpointError, KeyError, TypeError, ValueError):  # cut off by a kill
        return None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file of YAML that holds sections of plain values, and nothing that runs.

    Raises:
        CheckpointError: it cannot be read, is no such file, or names other objects; also where
            references within it, of a few lines, would unfold into millions of values.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        _check_size(content)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        reason = getattr(error, "problem", None) or lines[0]
        raise CheckpointError(f"{path} is not a configuration of plain values ({reason})") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a configuration: it must have sections")
    return content


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def check_plain_pickle(path: Path) -> None:
    """Check that a pickle, which another library is about to load, holds plain values alone.

    Raises:
        CheckpointError: it is damaged, or could run code.
    """
    try:
        with path.open("rb") as stream:
            _PlainUnpickler(stream).load()
    except Exception as error:  # damage makes this library raise whatever it may
        raise CheckpointError(f"{path} holds more than plain values ({error})") from None


def _check_size(content: object) -> None:
    waiting, seen = [content], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > _MAX_VALUES:
            raise ValueError(f"more than {_MAX_VALUES} values")
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple)):
            waiting.extend(value)
