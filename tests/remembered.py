"""What hundreds of tests compose and check alike, done once in a process.

Composition by Hydra reads the same files and merges them to the same configuration before the
overrides of values, which alone differ; and the model of a configuration gives outputs of the same
shapes for a first batch. Of both, what came out is kept, and each test gets a copy.
"""

from __future__ import annotations

import copy
import functools
import glob
import json
import os

import torch
import yaml
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import (
    ImportlibResourcesConfigSource,
)


def install() -> None:
    # Reading YAML is most of what composing takes: by C, and each file once.
    yaml.SafeLoader = yaml.CSafeLoader
    for source in (ImportlibResourcesConfigSource, FileConfigSource):
        source.load_config = remembered(
            source.load_config, lambda self, path: (self.path, path, *ones_own())
        )
    ConfigLoaderImpl._compose_config_from_defaults_list = remembered(
        ConfigLoaderImpl._compose_config_from_defaults_list,
        lambda self, defaults, repo: (*map(repr, defaults), *sources_of(repo)),
    )
    defaults_list._create_defaults_list = remembered_defaults(defaults_list._create_defaults_list)
    from mscn_plugin.config.checks import dry_run

    dry_run._model_outputs = remembered(dry_run._model_outputs, model_and_shapes)


def read_ahead() -> None:
    """Read the configs from which most others inherit: for processes that are forked from this."""
    from mscn_plugin.config.folder import config_folder

    ours = FileConfigSource("", f"file://{config_folder()}")
    for file in config_folder().rglob("*.yaml"):
        ours.load_config(str(file.relative_to(config_folder()).with_suffix("")))
    ImportlibResourcesConfigSource("", "pkg://vissl.config").load_config("defaults")


def remembered(function, key_of):
    """``function``, whose results are kept by ``key_of`` its arguments; errors are not."""
    kept = {}

    @functools.wraps(function)
    def call(*arguments, **keywords):
        key = key_of(*arguments, **keywords)
        if key not in kept:
            kept[key] = function(*arguments, **keywords)
        return copy.deepcopy(kept[key])

    return call


def remembered_defaults(function):
    """As :func:`remembered`, with what the function notes in the overrides that it is given."""
    kept = {}
    noted = ("override_choices", "override_metadata", "known_choices", "known_choices_per_group")
    noted = (*noted, "deletions", "append_group_defaults")

    @functools.wraps(function)
    def call(repo, config_name, overrides, **options):
        of_groups = [repr(getattr(overrides, name)) for name in noted]
        key = (config_name, *of_groups, *sources_of(repo), *options.items())
        if key not in kept:
            result = function(repo, config_name, overrides, **options)
            kept[key] = copy.deepcopy((result, {name: vars(overrides)[name] for name in noted}))
            return result
        result, notes = copy.deepcopy(kept[key])
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
    settings = cfg.MODEL, cfg.TRAINER.TASK_NAME, cfg.MACHINE.DEVICE, cfg.DATA.TRAIN.INPUT_KEY_NAMES
    return json.dumps(settings, sort_keys=True, default=str), str(shapes_of(batch))


def shapes_of(data):
    if isinstance(data, torch.Tensor):
        return data.shape
    if isinstance(data, dict):
        return {key: shapes_of(value) for key, value in data.items()}
    return [*map(shapes_of, data)] if isinstance(data, (list, tuple)) else type(data)
