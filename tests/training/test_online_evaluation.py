from __future__ import annotations

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures("registered")


def blobs(num_classes, per_class, seed):
    random = np.random.RandomState(seed)
    centers = np.random.RandomState(0).randn(num_classes, 16) * 0.8
    labels = np.repeat(np.arange(num_classes), per_class)
    return centers[labels] + random.randn(len(labels), 16), labels


def test_knn_equals_the_weighted_vote():
    from mscn_plugin.training.online_evaluation import knn_accuracy

    train, val = blobs(5, 30, seed=1), blobs(5, 20, seed=2)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train[0], val[0])]
    similarity = unit[1] @ unit[0].T
    right = 0
    for row, label in zip(similarity, val[1]):
        nearest = np.argsort(-row)[:20]
        votes = np.bincount(train[1][nearest], np.exp(row[nearest] / 0.07), minlength=5)
        right += votes.argmax() == label
    accuracy = knn_accuracy(train, val, num_neighbors=20, temperature=0.07)
    assert accuracy == pytest.approx(100 * right / len(val[1]))
    assert 40 < accuracy < 100


def test_probe_is_near_the_best_possible_on_gaussian_classes():
    from mscn_plugin.training.online_evaluation import probe_accuracy

    train, val = blobs(5, 200, seed=1), blobs(5, 200, seed=2)
    centers = np.random.RandomState(0).randn(5, 16) * 0.8
    distance = ((val[0][:, None] - centers) ** 2).sum(axis=2)
    best = 100 * (distance.argmin(axis=1) == val[1]).mean()
    assert best - 5 < probe_accuracy(train, val) <= best + 5


@pytest.fixture
def config(compose, image_folder, tiny):
    def make(*overrides):
        return compose("config=mscn/quickstart", *tiny, *overrides)

    return make


def test_features_are_those_of_the_test_transforms_in_a_fixed_order(config):
    from mscn_plugin.training.online_evaluation import EvaluationData

    first, second = (EvaluationData.of(config()) for _ in range(2))
    images, labels = first.features(lambda x: x, torch.device("cpu"))[0]
    assert images.shape == (32, 3 * 56 * 56)
    assert sorted(labels.tolist()) == sorted([0, 1, 2, 3] * 8)
    assert np.array_equal(images, second.features(lambda x: x, torch.device("cpu"))[0][0])
    # High-pass filtered images have no mean.
    assert abs(images.reshape(32, 3, -1).mean(axis=2)).max() < 0.1


def test_limits_of_the_number_of_images(config):
    from mscn_plugin.training.online_evaluation import EvaluationData

    data = EvaluationData.of(
        config(
            "config.MSCN.ONLINE_EVALUATION.MAX_TRAIN_IMAGES=10",
            "config.MSCN.ONLINE_EVALUATION.MAX_VAL_IMAGES=5",
        )
    )
    assert (len(data.train), len(data.val)) == (10, 5)


def test_without_validation_images_training_images_are_held_out(config, image_folder):
    from mscn_plugin.training.online_evaluation import EvaluationData

    data = EvaluationData.of(config(f"config.MSCN.DATA={image_folder}/train"))
    assert len(data.val) == 7
    assert sorted([*data.train.indices, *data.val.indices]) == list(range(32))


def test_without_labels_there_is_no_evaluation(config):
    from mscn_plugin.training.online_evaluation import EvaluationData

    cfg = config()
    cfg.DATA.TRAIN.LABEL_SOURCES = []
    assert EvaluationData.of(cfg) is None


def test_evaluation_mode_is_put_back():
    from mscn_plugin.training.online_evaluation import evaluation_mode

    module = torch.nn.BatchNorm1d(3)
    with pytest.raises(RuntimeError), evaluation_mode(module):  # noqa: PT012
        assert not module.training
        assert not torch.is_grad_enabled()
        raise RuntimeError
    assert module.training
    assert torch.is_grad_enabled()
