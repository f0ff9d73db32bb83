"""Classifiers on frozen features, against scikit-learn, NumPy and VISSL's own trainer."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("registered")


def blobs(num_classes, per_class, seed):
    random = np.random.RandomState(seed)
    centers = np.random.RandomState(0).randn(num_classes, 16) * 0.4
    labels = np.repeat(np.arange(num_classes), per_class)
    return centers[labels] + random.randn(len(labels), 16), labels


TRAIN, VAL = blobs(8, 30, seed=1), blobs(8, 20, seed=2)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_unweighted_knn_equals_scikit_learns(k):
    from sklearn.neighbors import KNeighborsClassifier

    from mscn_plugin.models.classifiers import knn_accuracy

    peer = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(*TRAIN)
    accuracy = knn_accuracy(TRAIN, VAL, k, temperature=None)
    assert accuracy == {1: pytest.approx(100 * peer.score(*VAL))}


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("k", "temperature"), [(20, 0.07), (200, 0.1), (5, 1.0)])
def test_weighted_knn_equals_vissls_formula(k, temperature, normalize):
    """``tools/nearest_neighbor_test.py`` of VISSL, which needs a GPU, in NumPy."""
    from mscn_plugin.models.classifiers import knn_accuracy

    scale = 1.0 if normalize else 0.05  # VISSL's exponential of a plain dot product overflows
    x, y = TRAIN[0] * scale, VAL[0] * scale
    if normalize:
        x, y = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (x, y))
    hits = np.zeros(2)
    for row, label in zip(y @ x.T, VAL[1]):
        nearest = np.argsort(-row)[:k]
        votes = np.bincount(TRAIN[1][nearest], np.exp(row[nearest] / temperature), minlength=8)
        ranked = np.argsort(-votes, kind="stable")
        hits += label == ranked[0], label in ranked[:5]
    accuracy = knn_accuracy(
        (TRAIN[0] * scale, TRAIN[1]), (VAL[0] * scale, VAL[1]), k, temperature, normalize, (1, 5)
    )
    assert accuracy == {top: pytest.approx(100 * h / len(VAL[1])) for top, h in zip((1, 5), hits)}
    assert 40 < accuracy[1] < accuracy[5] < 100


def test_more_neighbors_than_images_are_all_of_them():
    from mscn_plugin.models.classifiers import knn_accuracy

    few = TRAIN[0][::40], TRAIN[1][::40]
    assert knn_accuracy(few, VAL, 500, 0.1) == knn_accuracy(few, VAL, len(few[0]), 0.1)


def test_probe_is_near_the_best_possible_on_gaussian_classes():
    from mscn_plugin.models.classifiers import probe_accuracy

    train, val = blobs(5, 200, seed=1), blobs(5, 200, seed=2)
    centers = np.random.RandomState(0).randn(5, 16) * 0.4
    distance = ((val[0][:, None] - centers) ** 2).sum(axis=2)
    best = 100 * (distance.argmin(axis=1) == val[1]).mean()
    assert best - 5 < probe_accuracy(train, val) <= best + 5


@pytest.fixture
def svm_settings(compose):
    def settings(**overrides):
        section = compose("config=test/cpu_test/test_cpu_resnet_simclr").SVM
        section.costs.costs_list = [0.01, 1.0]
        section.update(overrides)
        return section

    return settings


@pytest.mark.parametrize("normalize", [True, False])
def test_svms_are_vissls(svm_settings, tmp_path, normalize):
    """Mean average precision of VISSL's own trainer, on several labels for each image."""
    from vissl.utils.svm_utils.svm_trainer import SVMTrainer

    from mscn_plugin.models.classifiers import svm_average_precision

    several = []
    for seed, (features, labels) in enumerate((TRAIN, VAL)):
        targets = np.eye(8)[labels]
        targets[np.random.RandomState(seed).rand(*targets.shape) < 0.1] = 1
        if seed:  # not to be judged, in VOC: difficult objects
            targets[np.random.RandomState(9).rand(*targets.shape) < 0.1] = -1
        several.append((features, targets))
    train, val = several
    trainer = SVMTrainer(svm_settings(normalize=normalize), layer="layer", output_dir=str(tmp_path))
    trainer.train(train[0], train[1].copy())
    trainer.test(val[0], val[1].copy())
    expected = 100 * np.load(tmp_path / "layer" / "test_ap.npy").mean()
    result = svm_average_precision(train, val, svm_settings(normalize=normalize))
    assert result == {"mAP": pytest.approx(expected, abs=0.02)}
    assert 40 < expected < 100


def test_svms_of_classes_have_an_accuracy_too(svm_settings):
    from mscn_plugin.models.classifiers import svm_average_precision

    result = svm_average_precision(TRAIN, VAL, svm_settings())
    one_hot = [(features, np.eye(8)[labels]) for features, labels in (TRAIN, VAL)]
    assert result["mAP"] == svm_average_precision(*one_hot, svm_settings())["mAP"]
    assert 40 < result["top_1"] < 100


def test_classes_with_too_few_images_are_left_out_and_counted(svm_settings, caplog):
    """Cross-validation needs one image of the class in each fold."""
    from mscn_plugin.models.classifiers import svm_average_precision

    kept = [30 * label + n for label, most in enumerate((6, 6, 2, 2)) for n in range(most)]
    labels = np.repeat(np.arange(4), 30)
    apart = np.eye(4)[labels] + 0.01 * np.random.RandomState(0).randn(120, 4)
    few = apart[kept], labels[kept]
    result = svm_average_precision(few, (apart, labels), svm_settings(cross_val_folds=3))
    assert result == {"mAP": pytest.approx(100), "top_1": 100}
    assert (
        "mAP is the mean over 2 of 4 classes, and top-1 over the images of these: each of the "
        "others has fewer training images, with it or without, than config.SVM.cross_val_folds, 3, "
        "or no validation image"
    ) in caplog.text
    caplog.clear()
    # A class without a validation image has no average precision, and may be mistaken for others.
    some = labels > 0
    result = svm_average_precision(few, (apart[some], labels[some]), svm_settings())
    assert result == {"mAP": pytest.approx(100), "top_1": 100}
    assert "mAP is the mean over 1 of 4 classes, and" in caplog.text


@pytest.mark.parametrize("several", [False, True])
def test_where_no_svm_can_be_fitted_there_is_no_number(svm_settings, caplog, several):
    from mscn_plugin.models.classifiers import svm_average_precision

    labels = np.arange(4)
    few = np.eye(4), np.eye(4)[labels] if several else labels
    assert svm_average_precision(few, few, svm_settings()) == {}
    (line,) = caplog.messages
    assert line.startswith("SVM: no number, since each of the 4 classes has fewer training images")


def test_the_mean_is_over_the_classes_that_are_asked_for(svm_settings, caplog):
    from mscn_plugin import ConfigError
    from mscn_plugin.models.classifiers import svm_average_precision

    single = [svm_average_precision(TRAIN, VAL, svm_settings(cls_list=[n])) for n in (1, 6)]
    both = svm_average_precision(TRAIN, VAL, svm_settings(cls_list=[1, 6]))
    assert both == {"mAP": pytest.approx(sum(result["mAP"] for result in single) / 2)}
    assert "classes" not in caplog.text
    with pytest.raises(ConfigError, match=r"SVM\.cls_list is \[8\]; .* from 0 to 7"):
        svm_average_precision(TRAIN, VAL, svm_settings(cls_list=[8]))


def test_fits_that_end_early_are_said_in_one_line(svm_settings, caplog, monkeypatch):
    from mscn_plugin.models import classifiers

    settings = svm_settings(max_iter=1)
    caplog.clear()
    with caplog.at_level("INFO"):
        classifiers.svm_average_precision(TRAIN, VAL, settings)
    (line,) = caplog.messages
    assert line.startswith("SVM: the fits of 8 of 8 classes ended after 1 iterations (config.SVM")
    caplog.clear()
    monkeypatch.setattr(classifiers, "_PROBE_ITERATIONS", 2)
    with caplog.at_level("INFO"):
        classifiers.probe_accuracy(TRAIN, VAL)
    (line,) = caplog.messages
    assert line.startswith("linear probe: 1 of 1 fits ended after 2 iterations, before they conv")


def test_costs_are_the_list_and_the_powers(svm_settings):
    from mscn_plugin.models.classifiers import costs

    section = svm_settings()
    assert costs(section) == [0.01, 1.0]
    section.costs.update(base=2.0, power_range=[1, 3])
    assert costs(section) == [0.01, 1.0, 2.0, 4.0]
