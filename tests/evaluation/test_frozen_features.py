"""Feature extraction on the CPU through VISSL's launcher, against the trunk called by hand."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("registered")]


@pytest.fixture
def extract(run_tool, checkpoints, image_folder, tmp_path):
    def run(processes, *overrides):
        run_tool(
            "config=mscn/benchmark/quick_frozen",
            "config.MODEL.TRUNK.SMALL_RESNET.WIDTH=4",
            f"config.MODEL.WEIGHTS_INIT.PARAMS_FILE={checkpoints['simclr']}/checkpoint.torch",
            f"config.MSCN.DATA={image_folder}",
            "config.DATA.NUM_DATALOADER_WORKERS=0",
            "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=5",
            "config.DATA.TEST.BATCHSIZE_PER_REPLICA=5",
            "config.CHECKPOINT.DIR=frozen",
            f"config.DISTRIBUTED.NUM_PROC_PER_NODE={processes}",
            "config.MSCN.FROZEN_EVALUATIONS=[knn,svm,logistic_regression]",
            *overrides,
        )
        lines = (tmp_path / "frozen" / "metrics.json").read_text().splitlines()
        return json.loads(lines[-1])["test_frozen_features"]

    return run


def features_by_hand(checkpoints, image_folder, split):
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import functional as F
    from vissl.config import AttrDict

    from mscn_plugin.checkpoints.io import load_checkpoint, training_config, trunk_weights
    from mscn_plugin.masking import high_pass
    from mscn_plugin.models.shapes import build_trunk

    file = checkpoints["simclr"] / "checkpoint.torch"
    trunk = build_trunk(AttrDict(training_config(file)["MODEL"])).eval()
    trunk.load_state_dict(trunk_weights(load_checkpoint(file), file))
    images = ImageFolder(image_folder / split)
    pixels = [
        F.normalize(
            F.to_tensor(F.center_crop(F.resize(image, 64), 56)),
            [0.485, 0.456, 0.406],
            [0.229, 0.224, 0.225],
        )
        for image, _ in images
    ]
    with torch.no_grad():
        return trunk(high_pass(torch.stack(pixels), 1.25), [])[-1].numpy(), np.array(images.targets)


@pytest.mark.parametrize("processes", [1, 2])
def test_features_are_the_trunks_in_one_process_and_in_two(
    extract, checkpoints, image_folder, tmp_path, processes
):
    from mscn_plugin.evaluation.frozen_features import labeled
    from mscn_plugin.models.classifiers import knn_accuracy

    results = extract(processes)
    splits = []
    for split, folder in (("train", "train"), ("test", "val")):
        features, labels = labeled(str(tmp_path / "frozen"), split, "res5avg")
        expected, truth = features_by_hand(checkpoints, image_folder, folder)
        assert features.shape == expected.shape  # the last batches are whole, and no image twice
        assert np.abs(features - expected).max() < 1e-5
        assert (labels == truth).all()
        splits.append((features, labels))
    assert results["knn"]["top_1"]["res5avg"] == knn_accuracy(*splits, 20, 0.07)[1]
    assert set(results) == {"knn", "svm", "logistic_regression"}
    # A second run with one process does not mix its files with those of the first.
    if processes == 2:
        assert extract(1) == results
        assert not list((tmp_path / "frozen").glob("rank1*"))


class OnGPU(torch.Tensor):
    """Behaves as a tensor on a GPU towards NumPy."""

    def numpy(self):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_labels_may_lie_on_the_gpu(registered, tmp_path, monkeypatch):
    """VISSL's loader moves the whole sample there, not the images alone."""
    from mscn_plugin.evaluation.frozen_features import extract_features, labeled

    monkeypatch.setenv("RANK", "0")
    images, labels = torch.randn(4, 6), torch.tensor([3, 1, 0, 2])
    sample = {"data": [images], "label": [labels], "data_idx": [torch.arange(4)]}
    sample["data_valid"] = [torch.ones(4, dtype=torch.int64)]
    sample = {key: [part.as_subclass(OnGPU) for part in parts] for key, parts in sample.items()}
    task = SimpleNamespace(
        base_model=torch.nn.Identity(), dataloaders={"test": [sample]}, device="cpu"
    )
    extract_features(task, ["heads"], tmp_path)
    features, targets = labeled(str(tmp_path), "test", "heads")
    np.testing.assert_array_equal(features, images.numpy())
    np.testing.assert_array_equal(targets, labels.numpy())


def test_unreadable_images_are_left_out(extract, image_folder, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(image_folder, damaged)
    (damaged / "val" / "class1" / "0.png").write_text("no picture")
    extract(1, f"config.MSCN.DATA={damaged}", "config.MSCN.FROZEN_EVALUATIONS=[knn]")
    (file,) = (tmp_path / "frozen").glob("rank0_chunk0_test_*_inds.npy")
    indices = np.load(file)
    assert sorted(indices.tolist()) == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]


def test_vissls_own_page_runs_with_one_more_key(run_tool, checkpoints, image_folder, tmp_path):
    """VISSL's VOC07 SVM config: five layers, pooled by VISSL's maps, from an unedited YAML."""
    few = tmp_path / "few"  # images, which it makes large
    for file in image_folder.rglob("*.png"):
        if int(file.stem) < 3:
            copy = few / file.relative_to(image_folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(file)
    run_tool(
        "config=benchmark/linear_image_classification/voc07/eval_resnet_8gpu_transfer_voc07_svm",
        "+config/mscn/transforms=high_pass_svm",
        "+config/mscn/machine=cpu",
        "engine_name=mscn_frozen_features",
        f"+config.MSCN.DATA={few}",
        "+config.MSCN.PRETRAINING_SIGMA=5",
        "+config.MSCN.FROZEN_EVALUATIONS=[svm]",
        "config.SVM.costs.costs_list=[1.0]",
        "config.MODEL.TRUNK.RESNETS.WIDTH_PER_GROUP=4",
        f"config.MODEL.WEIGHTS_INIT.PARAMS_FILE={narrow_resnet(tmp_path)}",
        "config.DATA.NUM_DATALOADER_WORKERS=0",
        "config.CHECKPOINT.DIR=svm",
    )
    line = json.loads((tmp_path / "svm" / "metrics.json").read_text())
    layers = line["test_frozen_features"]["svm"]["mAP"]
    assert list(layers) == ["conv1", "res2", "res3", "res4", "res5"]
    assert all(0 < value <= 100 for value in layers.values())


def narrow_resnet(folder):
    """A checkpoint of a ResNet-50 with narrow blocks."""
    from vissl.utils.hydra_config import compose_hydra_configuration, convert_to_attrdict

    import mscn_plugin
    from mscn_plugin.models.shapes import build_trunk

    mscn_plugin.register()
    width = "config.MODEL.TRUNK.RESNETS.WIDTH_PER_GROUP=4"
    config = "config=test/cpu_test/test_cpu_resnet_simclr"
    cfg = compose_hydra_configuration([config, width])
    model = convert_to_attrdict(cfg, dump_config=False)[1].MODEL
    weights = {"trunk": build_trunk(model).state_dict(), "heads": {}}
    torch.save({"classy_state_dict": {"base_model": {"model": weights}}}, folder / "narrow.torch")
    return folder / "narrow.torch"


def test_fewer_images_than_neighbors_are_said(caplog):
    from mscn_plugin.evaluation.frozen_features import evaluate

    settings = SimpleNamespace(TOPK=200, SIGMA=0.1, L2_NORM_FEATS=True)
    images = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])
    evaluate("knn", SimpleNamespace(NEAREST_NEIGHBOR=settings), images, images, "cpu")
    assert "config.NEAREST_NEIGHBOR.TOPK is 200: kNN takes all 4 training images" in caplog.text


def test_few_labels_are_a_share_of_each_class_and_the_same_for_every_trunk():
    from mscn_plugin.evaluation.frozen_features import evaluate

    settings = SimpleNamespace(TOPK=5, SIGMA=0.07, L2_NORM_FEATS=True)
    cfg = SimpleNamespace(NEAREST_NEIGHBOR=settings)
    train, val = (
        (np.eye(4, 8)[labels] + np.random.RandomState(seed).randn(200, 8) * 0.4, labels)
        for seed, labels in ((1, np.arange(200) % 4), (2, np.arange(200) % 4))
    )
    accuracies = evaluate("few_labels", cfg, train, val, "cpu")
    names = ["knn_1percent", "linear_probe_1percent", "knn_10percent", "linear_probe_10percent"]
    assert list(accuracies) == names
    for name in ("knn", "linear_probe"):
        assert 25 < accuracies[f"{name}_1percent"] < accuracies[f"{name}_10percent"] < 100
    assert evaluate("few_labels", cfg, train, val, "cpu") == accuracies
