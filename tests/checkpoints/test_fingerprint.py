from __future__ import annotations

import copy
import json
import shutil

import pytest
import torch
import yaml

from mscn_plugin.checkpoints.fingerprint import (
    NOTE,
    RECIPE_KEY,
    note_recipe,
    recipe_of,
    refuse_another_recipe,
)
from mscn_plugin.errors import ConfigError


@pytest.fixture
def config(compose, batch_folder):
    return compose("config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}")


@pytest.fixture
def run(config, tmp_path):
    """The folder of a run of ``config``, as far as refusals look at it."""
    folder = tmp_path / "run"
    folder.mkdir()
    config.CHECKPOINT.DIR = str(folder)
    state = {RECIPE_KEY: json.dumps(recipe_of(config))}
    torch.save({"iteration": 4, "classy_state_dict": state}, folder / "model_phase0.torch")
    return folder


def test_the_same_recipe_goes_on(config, run):
    refuse_another_recipe(config)


@pytest.mark.parametrize(
    "change",
    [
        ("DATA", "NUM_DATALOADER_WORKERS", 7),
        ("MSCN", "PROGRESS_BAR", True),
        ("CHECKPOINT", "CHECKPOINT_FREQUENCY", 5),
    ],
)
def test_what_does_not_decide_the_weights_may_change(config, run, change):
    section, key, value = change
    config[section][key] = value
    config.LOG_FREQUENCY = 1
    refuse_another_recipe(config)


def test_any_other_key_is_refused_with_the_ways_out(config, run):
    for path in (
        ("SEED_VALUE",),
        ("OPTIMIZER", "num_epochs"),
        ("OPTIMIZER", "param_schedulers", "lr", "start_value"),
        ("DATA", "TRAIN", "BATCHSIZE_PER_REPLICA"),
        ("LOSS", "mscn_info_nce_loss", "temperature"),
        ("DISTRIBUTED", "NUM_PROC_PER_NODE"),
    ):
        changed = copy.deepcopy(config)
        section = changed
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] += 1
        with pytest.raises(ConfigError) as refused:
            refuse_another_recipe(changed)
        message = str(refused.value)
        assert message.startswith(f"config.{'.'.join(path)} is {section[path[-1]]}, but ")
        assert "AUTO_RESUME=False" in message
        changed.MSCN.RESUME_CHANGED = True
        refuse_another_recipe(changed)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("model_phase2.torch", 4),
        ("model_iteration14.torch", 4),
        ("model_final_checkpoint_phase2.torch", 3),
    ],
)
@pytest.mark.parametrize("refused", [True, False])
def test_fewer_epochs_than_are_done_are_refused(config, tmp_path, name, least, refused):
    content = {"iteration": 14, "train_phase_idx": 2, "classy_state_dict": {}}
    torch.save(content, tmp_path / name)
    config.CHECKPOINT.DIR, config.MSCN.RESUME_CHANGED = str(tmp_path), True
    config.OPTIMIZER.num_epochs = epochs = least - refused
    if not refused:
        refuse_another_recipe(config)
        return
    message = (
        rf"config.OPTIMIZER.num_epochs is {epochs}, but .*{name}.* done 3: .* at least {least};"
    )
    with pytest.raises(ConfigError, match=message):
        refuse_another_recipe(config)
    config.CHECKPOINT.AUTO_RESUME = False
    refuse_another_recipe(config)


def test_masks_and_transforms_belong_to_the_recipe(config, run):
    config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS["ratio"] = 0.2
    with pytest.raises(ConfigError, match=r"config\.DATA\.TRAIN\.COLLATE_FUNCTION_PARAMS\.ratio"):
        refuse_another_recipe(config)


def test_other_images_are_another_recipe(config, run, tmp_path):
    config.MSCN.DATA = "photographs"
    with pytest.raises(ConfigError, match=r"config\.MSCN\.DATA is 'photographs'"):
        refuse_another_recipe(config)


@pytest.fixture
def rewrite(config, run):
    """Put another recipe into the run's checkpoint."""

    def write(change):
        recipe = recipe_of(config)
        change(recipe)
        state = {RECIPE_KEY: json.dumps(recipe)}
        torch.save({"iteration": 8, "classy_state_dict": state}, run / "model_phase1.torch")

    return write


def test_a_key_that_was_added_since_counts_as_its_default(config, rewrite):
    rewrite(lambda recipe: recipe.pop("MSCN.COMPILE_TRUNK"))
    refuse_another_recipe(config)
    config.MSCN.COMPILE_TRUNK = True
    with pytest.raises(ConfigError, match=r"COMPILE_TRUNK is True, but .* a run with False"):
        refuse_another_recipe(config)


def test_a_key_that_is_known_to_change_nothing_by_now_may_differ(config, rewrite):
    rewrite(lambda recipe: recipe.update({"MSCN.FROZEN_EVALUATIONS": ["svm"], "LOG_FREQUENCY": 3}))
    refuse_another_recipe(config)


def test_beginning_anew_is_not_refused(config, run):
    config.SEED_VALUE = 5
    config.CHECKPOINT.AUTO_RESUME = False
    with pytest.raises(ConfigError):  # a finished run would be taken for this one
        refuse_another_recipe(config)
    config.CHECKPOINT.OVERWRITE_EXISTING = True
    refuse_another_recipe(config)


def test_a_note_of_a_run_that_began_from_a_file_is_of_no_other_run(config, run, tmp_path):
    weights = tmp_path / "weights.torch"
    weights.write_bytes(b"1")
    from_file = copy.deepcopy(config)
    from_file.MODEL.WEIGHTS_INIT.PARAMS_FILE = str(weights)
    note_recipe(from_file)
    assert (run / NOTE).is_file()
    refuse_another_recipe(config)  # whose checkpoints came after it
    note_recipe(config)
    assert not (run / NOTE).is_file()


def test_a_run_goes_on_without_the_file_that_it_began_from(config, run, tmp_path):
    weights = tmp_path / "weights.torch"
    weights.write_bytes(b"1")
    config.MODEL.WEIGHTS_INIT.PARAMS_FILE = str(weights)
    state = {RECIPE_KEY: json.dumps(recipe_of(config))}
    torch.save({"iteration": 8, "classy_state_dict": state}, run / "model_phase1.torch")
    note_recipe(config)
    weights.write_bytes(b"2")
    with pytest.raises(ConfigError, match="whose content has changed"):
        refuse_another_recipe(config)
    weights.unlink()
    refuse_another_recipe(config)
    moved = tmp_path / "moved.torch"
    config.MODEL.WEIGHTS_INIT.PARAMS_FILE = str(moved)
    for content in (None, b"2"):
        if content:
            moved.write_bytes(content)
        with pytest.raises(ConfigError, match=r"PARAMS_FILE is '.*moved\.torch', but"):
            refuse_another_recipe(config)
    moved.write_bytes(b"1")
    refuse_another_recipe(config)


def test_a_checkpoint_that_says_nothing_is_taken(config, run):
    torch.save({"iteration": 8, "classy_state_dict": {}}, run / "model_phase1.torch")
    config.SEED_VALUE = 5
    refuse_another_recipe(config)


def test_pre_training_of_an_early_version_is_no_evaluation(config, run):
    torch.save({"iteration": 8, "classy_state_dict": {}}, run / "model_phase1.torch")
    plain = json.loads(json.dumps(config, default=str))
    (run / "train_config.yaml").write_text(yaml.safe_dump(plain))
    config.OPTIMIZER.num_epochs = 7
    refuse_another_recipe(config)
    config.TRAINER.TASK_NAME = "self_supervision_task"
    with pytest.raises(ConfigError, match=r"num_epochs is 7, but"):
        refuse_another_recipe(config)


def test_refusing_leaves_the_folder_as_it_is(compose, batch_folder, run, config, tmp_path):
    before = sorted(path.name for path in run.iterdir())
    with pytest.raises(ConfigError, match=r"config\.SEED_VALUE is 9"):
        compose(
            "config=mscn/quickstart",
            f"config.MSCN.DATA={batch_folder}",
            f"config.CHECKPOINT.DIR={run}",
            "config.SEED_VALUE=9",
        )
    assert sorted(path.name for path in run.iterdir()) == before


class TestChangedImages:
    """Bit-equality is promised for the same images."""

    @pytest.fixture
    def data(self, image_folder, tmp_path):
        return shutil.copytree(image_folder, tmp_path / "images")

    @pytest.fixture
    def start(self, compose, data, tmp_path):
        """Compose the run on ``data``, as a start does, with a checkpoint of the first one."""
        arguments = (
            "config=mscn/quickstart",
            f"config.MSCN.DATA={data}",
            f"config.CHECKPOINT.DIR={tmp_path}/run",
            "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8",
            "config.MSCN.ONLINE_EVALUATION.NUM_NEIGHBORS=3",
        )

        def again(*more):
            config = compose(*arguments, *more)
            file = tmp_path / "run" / "model_phase0.torch"
            if not file.exists():
                file.parent.mkdir(exist_ok=True)
                state = {RECIPE_KEY: json.dumps(recipe_of(config))}
                torch.save({"iteration": 4, "classy_state_dict": state}, file)
            return config

        return again

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda file: shutil.copy(file, file.with_name("new.png")),
                "which went from 32 to 33 training images since the run in config.CHECKPOINT.DIR",
            ),
            (lambda file: file.unlink(), "which went from 32 to 31 training images"),
            (
                lambda file: file.rename(file.with_name("new.png")),
                "some of whose training images have other names since",
            ),
            (
                lambda file: file.write_bytes(file.read_bytes() + b"more"),
                "some of whose training images have another size since",
            ),
        ],
    )
    def test_are_refused_in_one_message(self, start, data, change, message):
        start()
        start()
        change(data / "train" / "class1" / "0.png")
        with pytest.raises(ConfigError) as refused:
            start()
        assert str(refused.value).startswith(f"config.MSCN.DATA is '{data}', {message}")
        assert "config.MSCN.RESUME_CHANGED=True to resume" in str(refused.value)
        start("config.MSCN.RESUME_CHANGED=True")

    def test_others_may_change(self, start, data):
        start()
        (data / "val" / "class1" / "0.png").unlink()
        (data / "train" / "class1" / "notes.txt").touch()
        (data / "train" / "class1" / "._0.png").touch()
        start()

    def test_a_part_of_the_images_is_looked_at_alone(self, start, data, tmp_path):
        (tmp_path / "list.txt").write_text(
            "\n".join(f"class{label}/{name}.png" for label in range(4) for name in "01")
        )
        part = f"config.MSCN.TRAIN_SUBSET={tmp_path}/list.txt"
        start(part)
        (data / "train" / "class1" / "7.png").unlink()
        start(part)
        (tmp_path / "list.txt").write_text(
            "\n".join(f"class{label}/{name}.png" for label in range(4) for name in "02")
        )
        with pytest.raises(ConfigError, match="images have other names"):
            start(part)

    def test_checkpoints_that_do_not_say_their_images_go_on(self, start, data, tmp_path):
        recipe = {
            key: value
            for key, value in recipe_of(start()).items()
            if not key.startswith("MSCN.TRAINING_IMAGES")
        }
        state = {RECIPE_KEY: json.dumps(recipe)}
        torch.save(
            {"iteration": 8, "classy_state_dict": state}, tmp_path / "run" / "model_phase1.torch"
        )
        (data / "train" / "class1" / "0.png").unlink()
        start()

    def test_a_requeued_job_looks_again(self, start, data):
        from mscn_plugin.vissl.config_hook import check_images_again

        config = start()
        config.OPTIMIZER["lr"] = 0.1  # VISSL writes into the configuration while it trains
        check_images_again(config)
        (data / "train" / "class1" / "0.png").unlink()
        with pytest.raises(ConfigError, match="from 32 to 31 training images"):
            check_images_again(config)


@pytest.mark.parametrize(("key", "value"), [("torch", "1.0"), ("card", "GPU of before")])
def test_another_machine_is_said(monkeypatch, caplog, key, value):
    from mscn_plugin.checkpoints import fingerprint as recipe

    here = recipe.this_machine()
    state = {recipe.MACHINE_KEY: json.dumps({**here, key: value})}
    recipe.pin_machine({"classy_state_dict": state})
    assert f"{value}, and this is {here[key]}" in caplog.text
    caplog.clear()
    # Checkpoints of earlier versions do not say all of it.
    del here["card"]
    recipe.pin_machine({"classy_state_dict": {recipe.MACHINE_KEY: json.dumps(here)}})
    recipe.pin_machine({"classy_state_dict": {}})
    assert not caplog.text
