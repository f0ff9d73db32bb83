"""What hundreds of tests compose and check alike, done once.

Composition by Hydra reads the same files and merges them to the same configuration before the
overrides of values, which alone differ; and the model of a configuration gives outputs of the same
shapes for a first batch. What came out is kept in a folder for all processes of the tests, and each
test gets a copy.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import json
import os
import pickle
import tempfile
from pathlib import Path

import torch
import yaml
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

FOLDER = "MSCN_TESTS_REMEMBER_IN"
"""Variable of the environment that names the folder; the first process makes and removes it."""


def install() -> None:
    """Remember from now on; what is imported on the way is there for processes forked later."""
    if FOLDER not in os.environ:
        install.folder = tempfile.TemporaryDirectory(prefix="mscn-tests-")
        os.environ[FOLDER] = install.folder.name
    # Reading YAML is most of what composing takes: by C, and each file once.
    yaml.SafeLoader, yaml.SafeDumper = yaml.CSafeLoader, yaml.CSafeDumper
    # Each composition copies what gives out copies itself.
    ConfigStore.__deepcopy__ = lambda self, memo: self
    Plugins.instance()  # which makes the classes of the sources anew
    for scheme in ("file", "pkg"):
        source = SourcesRegistry.instance().resolve(scheme)
        source.load_config = remembered(
            source.load_config, lambda self, config_path: (self.path, config_path, *ones_own())
        )
    ConfigLoaderImpl._compose_config_from_defaults_list = remembered(
        ConfigLoaderImpl._compose_config_from_defaults_list,
        lambda self, defaults, repo: (*map(repr, defaults), *sources_of(repo)),
    )
    defaults_list._create_defaults_list = remembered_defaults(defaults_list._create_defaults_list)
    from mscn_plugin.config.checks import dry_run
    from mscn_plugin.models import shapes

    dry_run._model_outputs = remembered(dry_run._model_outputs, model_and_shapes, of_known_trunk)
    shapes._known = Kept("features", of_known_trunk)


class Kept:
    """Results by their keys, in this process and, those of keys that are shared, in files."""

    def __init__(self, name: str, shared=lambda key: True) -> None:
        self._name, self._shared = name, shared
        self._folder, self._pickled = Path(os.environ[FOLDER]), {}

    def __contains__(self, key) -> bool:
        if key not in self._pickled and self._shared(key) and self._file(key).exists():
            self._pickled[key] = self._file(key).read_bytes()
        return key in self._pickled

    def __getitem__(self, key):
        return pickle.loads(self._pickled[key])

    def __setitem__(self, key, result) -> None:
        self._pickled[key] = pickle.dumps(result)
        if self._shared(key):
            file = self._file(key)
            part = file.with_suffix(f".{os.getpid()}")
            part.write_bytes(self._pickled[key])
            part.replace(file)

    def _file(self, key) -> Path:
        return self._folder / hashlib.sha256(repr((self._name, key)).encode()).hexdigest()


def remembered(function, key_of, *shared):
    """``function``, whose results are kept by ``key_of`` its arguments; errors are not."""
    kept = Kept(function.__qualname__, *shared)

    @functools.wraps(function)
    def call(*arguments, **keywords):
        key = key_of(*arguments, **keywords)
        if key not in kept:
            kept[key] = function(*arguments, **keywords)
        return kept[key]

    return call


def remembered_defaults(function):
    """As :func:`remembered`, with what the function notes in the overrides that it is given."""
    kept = Kept(function.__qualname__)
    noted = ("override_choices", "override_metadata", "known_choices", "known_choices_per_group")
    noted = (*noted, "deletions", "append_group_defaults")

    @functools.wraps(function)
    def call(repo, config_name, overrides, **options):
        of_groups = [repr(getattr(overrides, name)) for name in noted]
        key = (config_name, *of_groups, *sources_of(repo), *options.items())
        if key not in kept:
            result = function(repo, config_name, overrides, **options)
            kept[key] = result, {name: vars(overrides)[name] for name in noted}
        result, notes = kept[key]
        vars(overrides).update(notes)
        return result

    return call


def sources_of(repo):
    return (*(source.path for source in repo.get_sources()), *ones_own())


def ones_own():
    """Configs of a user, who may have some in the working directory, are read as they are now."""
    files = glob.glob("configs/**/*.yaml", recursive=True)
    return [(os.path.abspath(file), os.stat(file).st_mtime_ns) for file in files]


def model_and_shapes(cfg, batch):
    """All that the outputs' shapes depend on, and what is checked on the way."""
    settings = cfg.TRAINER.TASK_NAME, cfg.MACHINE.DEVICE, cfg.DATA.TRAIN.INPUT_KEY_NAMES
    model = json.dumps(cfg.MODEL, sort_keys=True, default=str)
    return model, repr(settings), str(shapes_of(batch))


def of_known_trunk(key) -> bool:
    """Whether a key's model has a trunk that is the same in every process: none of a test."""
    from vissl.models.trunks import get_model_trunk

    module = get_model_trunk(json.loads(key[0])["TRUNK"]["NAME"]).__module__
    return module.startswith(("vissl.", "mscn_plugin."))


def shapes_of(data):
    if isinstance(data, torch.Tensor):
        return data.shape
    if isinstance(data, dict):
        return {key: shapes_of(value) for key, value in data.items()}
    return [*map(shapes_of, data)] if isinstance(data, (list, tuple)) else type(data)
