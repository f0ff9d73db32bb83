from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def config(compose, image_folder, tiny):
    def make(*overrides):
        return compose("config=mscn/quickstart", *tiny, *overrides)

    return make


def test_features_are_those_of_the_test_transforms_in_a_fixed_order(config):
    from mscn_plugin.training.hooks.online_evaluation import EvaluationData

    first, second = (EvaluationData.of(config()) for _ in range(2))
    images, labels = first.features(lambda x: x, torch.device("cpu"))[0]
    assert images.shape == (32, 3 * 56 * 56)
    assert sorted(labels.tolist()) == sorted([0, 1, 2, 3] * 8)
    assert np.array_equal(images, second.features(lambda x: x, torch.device("cpu"))[0][0])
    # High-pass filtered images have no mean.
    assert abs(images.reshape(32, 3, -1).mean(axis=2)).max() < 0.1


def test_limits_of_the_number_of_images(config):
    from mscn_plugin.training.hooks.online_evaluation import EvaluationData

    data = EvaluationData.of(
        config(
            "config.MSCN.ONLINE_EVALUATION.MAX_TRAIN_IMAGES=10",
            "config.MSCN.ONLINE_EVALUATION.MAX_VAL_IMAGES=5",
        )
    )
    assert (len(data.train), len(data.val)) == (10, 5)


def test_without_validation_images_training_images_are_held_out(config, image_folder):
    from mscn_plugin.training.hooks.online_evaluation import EvaluationData

    data = EvaluationData.of(config(f"config.MSCN.DATA={image_folder}/train"))
    assert len(data.val) == 7
    assert sorted([*data.train.indices, *data.val.indices]) == list(range(32))


def test_color_histograms_are_those_of_the_whole_images(config):
    from PIL import Image

    from mscn_plugin.data.photographs import color_histogram
    from mscn_plugin.training.hooks.online_evaluation import EvaluationData

    data = EvaluationData.of(config())
    assert data.images()["train"]["number"] == 32
    _, (histograms, labels) = data.color_histograms()
    for place, index in enumerate(data.val.indices):
        with Image.open(data.val.dataset.path_of(index)) as image:
            assert np.allclose(histograms[place], color_histogram([image])[0])
            assert f"class{labels[place]}" in image.filename


def test_without_labels_there_is_no_evaluation(config):
    from mscn_plugin.training.hooks.online_evaluation import EvaluationData

    cfg = config()
    cfg.DATA.TRAIN.LABEL_SOURCES = []
    assert EvaluationData.of(cfg) is None


def test_training_images_of_one_class_are_not_evaluated(caplog):
    """As where the fifth that is held out has all images of the other class."""
    from mscn_plugin.training.hooks.online_evaluation import OnlineEvaluationHook

    hook, labeled = OnlineEvaluationHook(), (np.zeros((4, 2)), np.zeros(4, int))
    hook.data = SimpleNamespace(features=lambda *_: (labeled, labeled))
    settings = SimpleNamespace(ONLINE_EVALUATION=SimpleNamespace(NETWORK="online"))
    task = SimpleNamespace(
        base_model=SimpleNamespace(trunk=torch.nn.Identity()),
        config=SimpleNamespace(MSCN=settings),
        device="cpu",
        checkpoint_folder="",
    )
    with caplog.at_level("INFO"):
        hook._evaluate(task, -1)
    assert hook.data is None
    assert "no online evaluation: the 4 training images have one class" in caplog.text


@pytest.mark.parametrize(
    ("finished", "evaluated", "again"),
    [
        (True, [-1], [1]),  # killed before the evaluation that follows the epoch's checkpoint
        (True, [-1, 1], []),
        (False, [-1], []),  # stopped after the last step: the epoch is ended, and then evaluated
    ],
)
def test_a_resumed_run_makes_up_for_an_evaluation_once(
    monkeypatch, tmp_path, finished, evaluated, again
):
    from mscn_plugin.training.hooks import online_evaluation

    lines = [{"train_phase_idx": epoch, "online_evaluation": {}} for epoch in evaluated]
    (tmp_path / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(online_evaluation.EvaluationData, "of", lambda config: object())
    made, settings = [], SimpleNamespace(EVERY_NUM_EPOCHS=2)
    hook = online_evaluation.OnlineEvaluationHook()
    monkeypatch.setattr(hook, "_evaluate", lambda task, epoch: made.append(epoch))
    task = SimpleNamespace(
        config=SimpleNamespace(MSCN=SimpleNamespace(ONLINE_EVALUATION=settings)),
        checkpoint_folder=str(tmp_path),
        test_only=False,
        num_train_phases=4,
        train_phase_idx=1 if finished else 0,
        iteration=8,
        max_iteration=16,
        ahead=0,
    )
    hook.on_start(task)
    assert made == again


def test_baselines_of_another_knn_are_measured_again(monkeypatch, tmp_path):
    from mscn_plugin.checkpoints.run_folder import json_lines
    from mscn_plugin.training.hooks import online_evaluation

    monkeypatch.setattr(online_evaluation, "add_scalars", lambda *_, **__: None)
    monkeypatch.setattr(online_evaluation, "measured_on", lambda line: "")
    labeled = (np.random.RandomState(0).randn(40, 2), np.arange(40) % 2)
    measured = []

    def color_histograms():
        measured.append(1)
        return labeled, labeled

    def evaluate(neighbors, temperature):
        hook = online_evaluation.OnlineEvaluationHook()
        hook.data = SimpleNamespace(
            features=lambda *_: (labeled, labeled),
            images=lambda: {"train": 40},
            color_histograms=color_histograms,
        )
        settings = SimpleNamespace(
            NETWORK="online", NUM_NEIGHBORS=neighbors, TEMPERATURE=temperature
        )
        task = SimpleNamespace(
            base_model=SimpleNamespace(trunk=torch.nn.Identity()),
            config=SimpleNamespace(MSCN=SimpleNamespace(ONLINE_EVALUATION=settings)),
            device="cpu",
            checkpoint_folder=str(tmp_path),
            iteration=0,
            ranks=SimpleNamespace(wait=lambda: None),
        )
        hook._evaluate(task, 0)

    for neighbors, temperature, count in ((1, 0.1, 1), (1, 0.1, 1), (30, 0.1, 2), (30, 9.0, 3)):
        evaluate(neighbors, temperature)
        assert len(measured) == count
    lines = json_lines(tmp_path / "metrics.json")
    assert lines[0]["knn_settings"] == {"neighbors": 1, "temperature": 0.1}
    for line in lines:  # of the same features
        assert line["color_histogram"] == line["online_evaluation"]


def test_all_ranks_evaluate_with_the_first_ones_statistics(monkeypatch):
    """A checkpoint holds those; each rank's own are those of its own last batch."""
    from mscn_plugin.training.hooks import online_evaluation

    monkeypatch.setattr(online_evaluation, "is_distributed_training_run", lambda: True)
    monkeypatch.setattr(online_evaluation.dist, "broadcast", lambda buffer, _: buffer.fill_(7))
    module = torch.nn.BatchNorm1d(2)
    with online_evaluation.evaluation_mode(module):
        assert module.running_mean.tolist() == [7, 7]
    assert module.running_mean.tolist() == [0, 0]
    assert module.running_var.tolist() == [1, 1]
    assert module.num_batches_tracked == 0


def test_evaluation_mode_is_put_back():
    from mscn_plugin.training.hooks.online_evaluation import evaluation_mode

    module = torch.nn.BatchNorm1d(3)
    with pytest.raises(RuntimeError), evaluation_mode(module):  # noqa: PT012
        assert not module.training
        assert not torch.is_grad_enabled()
        raise RuntimeError
    assert module.training
    assert torch.is_grad_enabled()


@pytest.fixture
def damaged(image_folder, tmp_path):
    """The images, some of which cannot be read: copies, with text in the place of pictures."""

    def make(*names: str):
        shutil.copytree(image_folder, tmp_path / "damaged")
        for name in names:
            (tmp_path / "damaged" / name).write_text("no picture")
        return tmp_path / "damaged"

    return make


def test_unreadable_images_are_left_out_and_said(config, damaged):
    from mscn_plugin.checkpoints.run_folder import measured_on
    from mscn_plugin.training.hooks.online_evaluation import EvaluationData

    data = EvaluationData.of(config(f"config.MSCN.DATA={damaged('val/class1/0.png')}"))
    train, val = data.features(lambda x: x, torch.device("cpu"))
    assert (len(train[0]), len(val[0])) == (32, 11)
    assert sorted(val[1].tolist()) == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3]
    assert len(np.unique(val[0], axis=0)) == 11
    assert len(data.color_histograms()[1][1]) == 11
    images = data.images()
    assert (images["val"]["number"], images["val"]["unreadable"]) == (11, 1)
    assert "unreadable" not in images["train"]
    line = {"images": images, "chance": 25, "color_histogram": {"knn": 0, "linear_probe": 0}}
    assert "11 images of" in measured_on(line)
    assert "(1 more cannot be read)" in measured_on(line)


def test_too_many_unreadable_images_are_no_evaluation(config, damaged):
    from mscn_plugin.errors import RunError
    from mscn_plugin.training.hooks.online_evaluation import EvaluationData

    folder = damaged(*(f"val/class1/{i}.png" for i in range(3)))
    data = EvaluationData.of(config(f"config.MSCN.DATA={folder}"))
    with pytest.raises(RunError, match="MAX_UNREADABLE_SHARE is 0.1, and 2 of 12 images of"):
        data.features(lambda x: x, torch.device("cpu"))
