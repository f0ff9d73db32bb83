"""Wrong checkpoints, filters, classes and splits: one sentence each, before any training."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import yaml

from mscn_plugin import ConfigError

FILE = "config.MODEL.WEIGHTS_INIT.PARAMS_FILE"
VISSL_LINEAR = (
    "config=benchmark/linear_image_classification/imagenet1k/other_styles/"
    "eval_resnet_res5_avgpool_output_8gpu_transfer_in1k_linear"
)


@pytest.fixture(scope="module")
def trunks():
    """The weights of newly initialized trunks, by what they were composed of."""
    return {}


@pytest.fixture
def saved(compose, batch_folder, tmp_path_factory, trunks):
    """Write a checkpoint of a narrow quickstart trunk; returns its path."""
    from mscn_plugin.checkpoints.io import SIGMA_KEY
    from mscn_plugin.models.shapes import build_trunk

    folder = tmp_path_factory.mktemp("saved")

    def save(sigma=1.25, change=lambda trunk: None, config="mscn/quickstart", extra=()):
        of = (f"config={config}", f"config.MSCN.DATA={batch_folder}", *extra)
        if of not in trunks:
            trunks[of] = build_trunk(compose(*of).MODEL).state_dict()
        trunk = dict(trunks[of])
        change(trunk)
        state = {"base_model": {"model": {"trunk": trunk, "heads": {}}}}
        if sigma is not None:
            state[SIGMA_KEY] = torch.tensor(sigma)
        torch.save({"classy_state_dict": state}, folder / "checkpoint.torch")
        return folder / "checkpoint.torch"

    return save


@pytest.fixture
def linear(compose, batch_folder):
    def run(checkpoint, *overrides, data=batch_folder):
        return compose(
            "config=mscn/benchmark/quick_linear",
            f"{FILE}={checkpoint}",
            f"config.MSCN.DATA={data}",
            *overrides,
        )

    return run


def test_what_fits_passes_and_nulls_are_filled(linear, saved):
    config = linear(saved())
    assert config.MODEL.HEAD.PARAMS == [["mlp", {"dims": [128, 4]}]]
    assert config.DATA.TRAIN.DATA_SOURCES == ["disk_folder"]


def refusal(function, *arguments, **keywords):
    with pytest.raises(ConfigError) as error:
        function(*arguments, **keywords)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_sigma_is_refused(linear, saved, tmp_path):
    for sigma in (0.0, 1.0, 5.0):
        sentence = refusal(linear, saved(sigma))
        assert "config.DATA.TRAIN.TRANSFORMS filter with sigma 1.25, but the checkpoint" in sentence
        assert f"was pre-trained with {sigma:g}" in sentence
        advice = sentence.partition(": add ")[2].split()
        assert len(advice) == 2
        linear(saved(sigma), *advice)
    one = "config.DATA.TEST.TRANSFORMS=[{name:CenterCrop,size:56},{name:ToTensor}]"
    assert "config.DATA.TEST.TRANSFORMS filter with sigma 0, but" in refusal(linear, saved(), one)
    # The user may state what a checkpoint does not say.
    assert linear(saved(None), "config.MSCN.PRETRAINING_SIGMA=1.25")
    stated = "config.MSCN.PRETRAINING_SIGMA"
    assert "was pre-trained with 2" in refusal(linear, saved(None), f"{stated}=2")
    assert f"{stated} is 2, but {saved()} states 1.25; it must" in refusal(
        linear, saved(), f"{stated}=2"
    )
    message = "config.MSCN.PRETRAINING_SIGMA is 'five'; it must be null, 0 or at least 0.25 pixels"
    assert message in refusal(linear, saved(), "config.MSCN.PRETRAINING_SIGMA=five")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_says_nothing_is_evaluated_with_a_warning(linear, saved, caplog):
    linear(saved(None))
    assert "does not state pre-training's sigma; TRAIN is filtered with 1.25" in caplog.text


def test_an_older_runs_sigma_is_read_from_its_configuration(linear, saved, checkpoints):
    checkpoint = saved(None)
    shutil.copy(checkpoints["simclr"] / "train_config.yaml", checkpoint.parent)
    assert linear(checkpoint)
    text = (checkpoint.parent / "train_config.yaml").read_text().replace("sigma: 1.25", "sigma: 9")
    (checkpoint.parent / "train_config.yaml").write_text(text)
    assert "was pre-trained with 9" in refusal(linear, checkpoint)


def test_another_normalization_is_refused(linear, saved, checkpoints):
    checkpoint = saved()
    train, test = (
        f"config.DATA.{split}.TRANSFORMS.3.mean=[0.1,0.1,0.1]" for split in ("TRAIN", "TEST")
    )
    other = "normalize with mean [0.1] and std [0.229, 0.224, 0.225], and"
    sentence = refusal(linear, checkpoint, test)
    assert f"config.DATA.TEST.TRANSFORMS {other} config.DATA.TRAIN.TRANSFORMS" in sentence
    linear(checkpoint, train, test)  # which nothing contradicts
    shutil.copy(checkpoints["simclr"] / "train_config.yaml", checkpoint.parent)
    sentence = refusal(linear, checkpoint, train, test)
    assert f"config.DATA.TRAIN.TRANSFORMS {other} those that the checkpoint" in sentence
    assert "was pre-trained with normalize with mean [0.485, 0.456, 0.406]" in sentence


def test_another_trunk_is_refused(linear, saved):
    key = "_feature_blocks.conv1.weight"

    def reshaped(trunk):
        trunk[key] = torch.zeros(1)

    def broken(trunk):
        trunk[key] = trunk[key] * float("nan")

    for change, message in (
        (
            lambda trunk: trunk.pop(key),
            f"lacks 1 tensors that the trunk small_resnet has, such as {key}",
        ),
        (
            reshaped,
            f"whose {key} has shape [1], where the trunk small_resnet has [16",
        ),
        (
            lambda trunk: trunk.update(more=torch.zeros(1)),
            "has 1 tensors that the trunk small_resnet lacks, such as more",
        ),
        (broken, f"whose {key} has values that are not finite"),
        (lambda trunk: trunk.clear(), "has no trunk under classy_state_dict"),
    ):
        assert message in refusal(linear, saved(change=change))
    name = "config.MODEL.TRUNK.NAME=high_pass_smal_resnet"
    assert "did you mean high_pass_small_resnet?" in refusal(linear, saved(), name)


def test_what_is_no_checkpoint_is_refused(linear, tmp_path, monkeypatch):
    other = tmp_path.parent / "not_a_checkpoint.torch"
    torch.save({"weights": torch.zeros(1)}, other)
    assert f"{FILE}: /nowhere.torch is not a file" in refusal(linear, "/nowhere.torch")
    assert f"{FILE}: {other} has no trunk" in refusal(linear, other)
    assert f"{FILE} is empty; it must be the checkpoint to evaluate" in refusal(linear, "''")


def test_classes_must_agree(linear, saved, batch_folder, tmp_path_factory):
    head = "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[128,1000]}]]"
    sentence = refusal(linear, saved(), head)
    assert "config.MODEL.HEAD.PARAMS[0][1].dims[-1] is 1000, but" in sentence
    assert "has 4 classes; it must be null, which takes the folder's number, or 4" in sentence
    top = "config.METERS.accuracy_list_meter.topk_values=[1,5]"
    assert "topk_values is [1, 5]; it must be at most the number" in refusal(linear, saved(), top)
    odd = tmp_path_factory.mktemp("odd")
    shutil.copytree(batch_folder, odd / "data")
    shutil.rmtree(odd / "data" / "val" / "class2")
    sentence = refusal(linear, saved(), data=odd / "data")
    assert f"they must have the same, and {odd}/data/val has no 'class2'" in sentence


def test_without_validation_images_the_online_evaluations_fifth_is_held_out(
    compose, linear, saved, batch_folder, tmp_path, caplog
):
    import numpy as np

    from mscn_plugin.training.hooks.online_evaluation import EvaluationData

    folder = batch_folder / "train"
    config = linear(saved(), "config.CHECKPOINT.DIR=run", data=folder)
    splits = {}
    for split in ("TRAIN", "TEST"):
        data = config.DATA[split]
        assert data.DATA_SOURCES == data.LABEL_SOURCES == ["disk_filelist"]
        labels = np.load(data.LABEL_PATHS[0], allow_pickle=False).tolist()
        splits[split] = np.load(data.DATA_PATHS[0], allow_pickle=False).tolist()
        assert labels == [int(path.split("class")[1][0]) for path in splits[split]]
    assert not set(splits["TRAIN"]) & set(splits["TEST"])
    assert len(splits["TRAIN"]) + len(splits["TEST"]) == 512
    online = EvaluationData.of(
        compose("config=mscn/quickstart", f"config.MSCN.DATA={folder}", "config.CHECKPOINT.DIR=p")
    )
    assert splits["TEST"] == sorted(online.val.dataset.path_of(i) for i in online.val.indices)
    # A part of the labels is one of those that are not held out.
    config = linear(
        saved(), "config.MSCN.TRAIN_SUBSET=0.25", "config.CHECKPOINT.DIR=part", data=folder
    )
    part = set(np.load(config.DATA.TRAIN.DATA_PATHS[0], allow_pickle=False).tolist())
    assert part < set(splits["TRAIN"])
    # A list may name any, of which those that are held out are left out.
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join(splits["TRAIN"][::2] + splits["TEST"]).replace(f"{folder}/", ""))
    config = linear(
        saved(), f"config.MSCN.TRAIN_SUBSET={listing}", "config.CHECKPOINT.DIR=list", data=folder
    )
    listed = np.load(config.DATA.TRAIN.DATA_PATHS[0], allow_pickle=False).tolist()
    assert listed == splits["TRAIN"][::2]
    assert "lists 308 images, of which 103 are held out for validation" in caplog.text


def test_training_images_are_no_validation_images(linear, saved, batch_folder, tmp_path):
    """By whatever path they are named."""
    (tmp_path / "link").symlink_to(batch_folder / "train")
    (tmp_path / "val").mkdir()
    for label in range(4):
        (tmp_path / "val" / f"class{label}").symlink_to(batch_folder / "train" / f"class{label}")
    train = f"config.DATA.TRAIN.DATA_PATHS=[{batch_folder}/train]"
    for other in (f"{batch_folder}/train", f"{batch_folder}/train/", "link", "val"):
        test = f"config.DATA.TEST.DATA_PATHS=[{other}]"
        sentence = refusal(linear, saved(), train, test, data="")
        named = other.rstrip("/")
        assert f"config.DATA.TEST.DATA_PATHS is ['{named}'], and '{named}" in sentence
        assert "too: accuracies would be those of training images" in sentence


@pytest.mark.parametrize("make", [lambda train: train, lambda train: train / "class0"])
def test_images_without_labels_are_refused(linear, saved, batch_folder, tmp_path_factory, make):
    """One sub-folder with all of them, or none."""
    folder = tmp_path_factory.mktemp("unlabeled") / "train"
    shutil.copytree(batch_folder / "train" / "class0", folder / "class0")
    sentence = refusal(linear, saved(), data=make(folder))
    assert f"config.MSCN.DATA names '{make(folder)}', which has no two sub-folders" in sentence
    assert "an evaluation needs labels" in sentence


def test_labels_of_lists_must_mean_the_folders_classes(linear, saved, batch_folder, tmp_path):
    """Names are numbered by their place in each list; numbers must have a class in the folder."""
    import numpy as np

    folder = batch_folder
    paths = sorted(map(str, (folder / "train").glob("class[012]/*.png")))
    names = [path.split("/")[-2] for path in paths]
    np.save(tmp_path / "paths.npy", np.array(paths))
    explicit = [
        "config.DATA.TRAIN.DATA_SOURCES=[disk_filelist]",
        "config.DATA.TRAIN.LABEL_SOURCES=[disk_filelist]",
        f"config.DATA.TRAIN.DATA_PATHS=[{tmp_path}/paths.npy]",
        f"config.DATA.TRAIN.LABEL_PATHS=[{tmp_path}/labels.npy]",
        f"config.DATA.TEST.DATA_PATHS=[{folder}/val]",
        "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[128,4]}]]",
    ]
    for labels, message in (
        (names, "config.DATA.TEST 4 in "),
        (
            names[:5],
            "labels.npy', which has 5 entries; it must have one for each of the 384 images",
        ),
        ([4] * len(paths), "which has the label 4, but config.DATA.TEST has 4 classes"),
    ):
        np.save(tmp_path / "labels.npy", np.array(labels))
        assert message in refusal(linear, saved(), *explicit, data="")
    np.save(tmp_path / "labels.npy", np.array([int(name[-1]) for name in names]))
    linear(saved(), *explicit, data="")


def test_subsets_are_written_once_everything_else_is_right(linear, saved, tmp_path):
    import numpy as np

    sentence = refusal(linear, saved(), "config.MSCN.TRAIN_SUBSET=2")
    assert "config.MSCN.TRAIN_SUBSET is 2; it must be a fraction above 0" in sentence
    sentence = refusal(linear, saved(5.0), "config.MSCN.TRAIN_SUBSET=0.5")
    assert not list(tmp_path.iterdir())
    config = linear(saved(), "config.MSCN.TRAIN_SUBSET=0.5", "config.CHECKPOINT.DIR=run")
    assert config.DATA.TRAIN.DATA_SOURCES == config.DATA.TRAIN.LABEL_SOURCES == ["disk_filelist"]
    (labels,) = config.DATA.TRAIN.LABEL_PATHS
    assert np.load(labels).tolist() == [label for label in range(4) for _ in range(64)]
    assert config.MODEL.HEAD.PARAMS[0][1]["dims"] == [128, 4]


def test_unknown_frozen_evaluations_are_refused(linear, saved):
    message = (
        "FROZEN_EVALUATIONS is ['kmm']; it must be a list of some of knn, svm, logistic_regression"
    )
    assert message in refusal(linear, saved(), "config.MSCN.FROZEN_EVALUATIONS=[kmm]")


class TestVisslsOwnPages:
    """VISSL's ImageNet config, of a narrow trunk, on a checkpoint of masked pre-training."""

    narrow = "config.MODEL.TRUNK.RESNETS.WIDTH_PER_GROUP=4"

    @pytest.fixture
    def vissl(self, compose, batch_folder):
        def run(checkpoint, *overrides):
            return compose(
                VISSL_LINEAR,
                "+config/mscn/machine=cpu",
                self.narrow,
                f"{FILE}={checkpoint}",
                *overrides,
            )

        return run

    @pytest.fixture
    def resnet(self, saved):
        extra = ["config.MODEL.TRUNK.NAME=resnet", self.narrow]
        return lambda sigma=5.0: saved(sigma, extra=extra)

    def test_without_a_filter_is_refused_with_the_one_override(self, vissl, resnet):
        sentence = refusal(vissl, resnet())
        assert "was pre-trained behind a high-pass filter with sigma 5" in sentence
        assert "add config.MODEL.TRUNK.NAME=high_pass_resnet" in sentence
        assert vissl(resnet(0.0)).MODEL.TRUNK.NAME == "resnet"
        assert vissl(resnet(None)).MODEL.TRUNK.NAME == "resnet"

    def test_the_override_takes_the_checkpoints_sigma(self, vissl, resnet, batch_folder):
        data = [
            f"+config.MSCN.DATA={batch_folder}",
            "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[2048,null]}]]",
            "config.METERS.accuracy_list_meter.topk_values=[1]",
        ]
        name = "config.MODEL.TRUNK.NAME=high_pass_resnet"
        assert vissl(resnet(), name, *data).MODEL.TRUNK.HIGH_PASS.SIGMA == 5
        wrong = refusal(vissl, resnet(), name, *data, "+config.MODEL.TRUNK.HIGH_PASS.SIGMA=3")
        assert "filter with sigma 3, but the checkpoint" in wrong
        twice = refusal(vissl, resnet(), name, *data, "+config/mscn/transforms=high_pass")
        assert "TRANSFORMS[4] and config.MODEL.TRUNK.NAME both filter the images" in twice
        silent = refusal(vissl, resnet(None), name, *data)
        assert "does not state its sigma: add +config.MODEL.TRUNK.HIGH_PASS.SIGMA=" in silent
        negative = refusal(vissl, resnet(), name, *data, "+config.MODEL.TRUNK.HIGH_PASS.SIGMA=-1")
        assert "config.MODEL.TRUNK.HIGH_PASS.SIGMA is -1; it must be at least 0 pixels" in negative
        assert "whose sigma is the checkpoint's: set" in refusal(vissl, "''", name, *data)

    def test_the_overlay_filters_in_both_splits(self, vissl, resnet, batch_folder):
        config = vissl(
            resnet(),
            "+config/mscn/transforms=high_pass",
            f"+config.MSCN.DATA={batch_folder}",
            "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[2048,4]}]]",
            "config.METERS.accuracy_list_meter.topk_values=[1]",
        )
        for split in ("TRAIN", "TEST"):
            assert config.DATA[split].TRANSFORMS[-1] == {"name": "MSCNHighPass", "sigma": 5.0}


def test_runs_of_mscn_task_say_their_sigma(checkpoints):
    from mscn_plugin.checkpoints.io import load_checkpoint
    from mscn_plugin.checkpoints.sigma import pretraining_sigma

    for folder in checkpoints.values():
        assert pretraining_sigma(load_checkpoint(folder / "checkpoint.torch")) == 1.25


ANEW = ("config.CHECKPOINT.AUTO_RESUME=False", "config.CHECKPOINT.OVERWRITE_EXISTING=True")


class Evaluated:
    """A folder of linear evaluations: what the launcher makes of a start, and what VISSL leaves."""

    def __init__(self, linear, folder):
        self.linear, self.folder = linear, folder

    def start(self, checkpoint, *overrides, **options):
        """Where a start goes on from: ``None`` from the checkpoint to evaluate, or ``"done"``."""
        from mscn_plugin.vissl.launcher import get_resume_checkpoint, nothing_left

        config = self.linear(
            checkpoint,
            f"config.CHECKPOINT.DIR={self.folder}",
            "config.OPTIMIZER.num_epochs=2",
            *overrides,
            **options,
        )
        plain = json.loads(json.dumps(config, default=str))
        (self.folder / "train_config.yaml").write_text(yaml.safe_dump(plain))
        if nothing_left(config, str(self.folder)):
            return "done"
        return get_resume_checkpoint(config, str(self.folder))

    def train(self, epochs=2):
        names = ("model_phase0.torch", "model_final_checkpoint_phase1.torch")
        lines = [
            {"iteration": 4 * (epoch + 1), "train_phase_idx": epoch, "test_accuracy": {}}
            for epoch in range(epochs)
        ]
        for name, line in zip(names, lines):
            content = {"iteration": line["iteration"], "classy_state_dict": {}}
            torch.save(content, self.folder / name)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self.folder / "metrics.json").write_text(text)


@pytest.fixture
def evaluated(linear, saved, tmp_path_factory):
    """The folder of the finished evaluation of ``saved()``."""
    evaluated = Evaluated(linear, tmp_path_factory.mktemp("evaluation"))
    assert evaluated.start(saved()) is None
    evaluated.train()
    return evaluated


def test_a_folder_of_an_evaluation_with_other_settings_is_refused(evaluated, saved):
    """VISSL would say that the training succeeded already, and keep the other's numbers."""
    assert evaluated.start(saved()) == "done"
    slower = "config.OPTIMIZER.momentum=0.5"
    before = (evaluated.folder / "recipe.json").read_text()
    for override, said in (
        (slower, "config.OPTIMIZER.momentum is 0.5, but config.CHECKPOINT"),
        ("config.MSCN.TRAIN_SUBSET=0.5", "config.MSCN.TRAIN_SUBSET is 0.5, but config.CHECKPOINT"),
    ):
        message = refusal(evaluated.start, saved(), override)
        assert message.startswith(said)
        assert " ".join(ANEW) in message
    assert (evaluated.folder / "recipe.json").read_text() == before
    final = str(evaluated.folder / "model_final_checkpoint_phase1.torch")
    assert evaluated.start(saved(), slower, "config.MSCN.RESUME_CHANGED=True") == final
    assert evaluated.start(saved(), slower) == "done"


def add_one(trunk):
    trunk.update({name: tensor + 1 for name, tensor in trunk.items()})


def test_a_folder_of_the_evaluation_of_another_checkpoint_is_refused(evaluated, saved, tmp_path):
    """VISSL does not read a checkpoint where it finds its own to resume from."""
    other = shutil.copy(saved(change=add_one), tmp_path / "other.torch")
    for overrides in ((), ANEW[1:]):
        message = refusal(evaluated.start, other, *overrides)
        assert message.startswith(f"{FILE} is '{other}', but config.CHECKPOINT.DIR")
    # As long as nothing has begun the folder is the first one's: a job may be cancelled.
    evaluated.linear(other, f"config.CHECKPOINT.DIR={evaluated.folder}", *ANEW)
    assert evaluated.start(saved()) == "done"
    # It begins anew, is killed in its first epoch, and goes on without the overrides.
    assert evaluated.start(other, *ANEW) is None
    assert evaluated.start(other) is None
    assert len(list((evaluated.folder / "replaced-1").iterdir())) == 4
    evaluated.train(epochs=1)
    assert evaluated.start(other) == str(evaluated.folder / "model_phase0.torch")


def test_a_checkpoint_that_was_trained_anew_is_another(evaluated, saved, caplog):
    message = refusal(evaluated.start, saved(change=add_one))
    assert message.startswith(f"{FILE} is '{saved()}', whose content has changed since the run in")
    assert evaluated.start(saved()) == "done"
    # Earlier versions did not note it, nor the recipe, which VISSL's own file has.
    (evaluated.folder / "recipe.json").unlink()
    assert evaluated.start(saved(change=add_one)) == "done"
    assert f"whether '{saved()}' has changed since is not known" in caplog.text
    message = refusal(evaluated.start, saved(), "config.MSCN.TRAIN_SUBSET=0.5")
    assert message.startswith("config.MSCN.TRAIN_SUBSET is 0.5, but config.CHECKPOINT")


def test_a_list_or_folder_that_was_changed_is_another(linear, saved, image_folder, tmp_path):
    """Also where no ``val/`` is there and lists are written."""
    folder, listing = tmp_path / "evaluation", tmp_path / "list.txt"
    folder.mkdir()
    evaluated = Evaluated(linear, folder)
    train = image_folder / "train"
    lines = [str(path.relative_to(train)) for path in train.rglob("*.png")]
    listing.write_text("\n".join(lines))
    of_list = [f"config.MSCN.TRAIN_SUBSET={listing}", "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=4"]
    evaluated.start(saved(), *of_list, data=image_folder)
    evaluated.train()
    assert evaluated.start(saved(), *of_list, data=image_folder) == "done"
    listing.write_text("\n".join(lines[1:]))
    message = refusal(evaluated.start, saved(), *of_list, data=image_folder)
    assert "which went from 32 to 31 training images since the run in" in message
    # The fifth that is held out is read from lists of the folder, too.
    data = [*of_list[1:], *ANEW]
    evaluated.start(saved(), *data, data=train)
    evaluated.train()
    assert evaluated.start(saved(), *data[:1], data=train) == "done"


def test_a_folder_of_frozen_features_of_another_checkpoint_is_refused(
    linear, saved, tmp_path_factory, batch_folder
):
    folder = tmp_path_factory.mktemp("evaluation")
    here = f"config.CHECKPOINT.DIR={folder}"
    (folder / "metrics.json").write_text("")
    config = {
        "MODEL": {"WEIGHTS_INIT": {"PARAMS_FILE": str(saved())}},
        "MSCN": {"DATA": str(batch_folder)},
    }
    (folder / "train_config.yaml").write_text(yaml.safe_dump(config))
    linear(saved(), here)  # the same
    config["MODEL"]["WEIGHTS_INIT"]["PARAMS_FILE"] = "/another.torch"
    (folder / "train_config.yaml").write_text(yaml.safe_dump(config))
    sentence = refusal(linear, saved(), here)
    assert "which holds the evaluation of another config.MODEL.WEIGHTS_INIT.PARAMS_FILE" in sentence
    linear(saved(), here, "config.CHECKPOINT.OVERWRITE_EXISTING=True")


def test_a_pretext_head_is_not_loaded_into_another(linear, saved):
    file = saved()
    checkpoint = torch.load(file, weights_only=True)
    heads = checkpoint["classy_state_dict"]["base_model"]["model"]["heads"]
    heads["0.clf.0.weight"] = torch.zeros(128, 128)
    torch.save(checkpoint, file)
    tuned = [
        "config.MODEL.FEATURE_EVAL_SETTINGS.EVAL_MODE_ON=False",
        "config.MODEL.WEIGHTS_INIT.SKIP_LAYERS=[]",
        "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[128,4]}]]",
    ]
    sentence = refusal(linear, file, *tuned)
    assert "add config.MODEL.WEIGHTS_INIT.SKIP_LAYERS=[num_batches_tracked,heads]" in sentence
