from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from run_folders import write_run
from torchvision.transforms import functional as F

from mscn_plugin import ConfigError

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def run(compose, tiny, tmp_path):
    """Its trunk and its configuration."""
    from mscn_plugin.checkpoints.io import training_config
    from mscn_plugin.export.pretrained import load_pretrained

    folder = write_run(tmp_path / "written", compose("config=mscn/quickstart", *tiny))
    file = folder / "model_phase1.torch"
    return load_pretrained(file), training_config(file)


def test_cosine_similarity_orders_the_images():
    from mscn_plugin.report.neighbors import cosine_similarities

    images = torch.tensor([[0.0, 5.0], [3.0, 0.0], [-1.0, 0.0], [1.0, 1.0]])
    cosines = cosine_similarities(torch.tensor([[2.0, 0.0]]), images)
    assert cosines[0].tolist() == pytest.approx([0, 1, -1, 0.5**0.5])


def test_a_similarity_has_its_place_among_all():
    from mscn_plugin.report.neighbors import percentage_as_large

    everything = torch.tensor([[0.991, 0.992], [0.993, 0.992]])
    tops = percentage_as_large(torch.tensor([[0.993, 0.992], [0.991, 0.993]]), everything)
    assert tops.tolist() == [[25, 75], [100, 25]]


def test_images_of_different_classes_are_shown_first():
    from mscn_plugin.report.neighbors import shown

    assert shown([2, 2, 1, 2, 0], 4) == [0, 2, 4, 1]
    assert shown([2, 2, 1, 2, 0], 2) == [0, 2]
    assert shown([0], 3) == [0]


@pytest.mark.parametrize("unreadable", [0, 2])
def test_neighbors_are_those_of_the_trunks_features(run, image_folder, tmp_path, unreadable):
    """Recomputed from the pictures that the page shows, also where some cannot be read."""
    from mscn_plugin.report.neighbors import nearest_neighbors

    pretrained, config = run
    data = shutil.copytree(image_folder, tmp_path / "data")
    for split in ("train", "val"):
        for image in sorted((data / split / "class1").iterdir())[:unreadable]:
            image.write_bytes(b"no picture")
    config["MSCN"]["MAX_UNREADABLE_SHARE"] = 0.5
    found = nearest_neighbors(pretrained, config, str(data))
    numbers = 32 - unreadable, 12 - unreadable, 6
    assert (found.searched, found.judged, len(found.queries)) == numbers
    assert len({query.label for query in found.queries[:4]}) == 4
    assert 0 <= found.share <= 100

    def features(image):
        steps = pretrained.preprocessing
        normalized = F.normalize(F.to_tensor(image), steps.mean, steps.std)
        return pretrained.features(normalized[None])[0].numpy()

    if not unreadable:
        assert found.chance == pytest.approx(25)
    for query in found.queries:
        tops = [neighbor.top for neighbor in query.neighbors]
        assert tops == sorted(tops)
        assert 0.26 < tops[0] <= tops[-1] <= 100  # one of 32 x 12 pairs at least
        x = features(query.image)
        similarities = [neighbor.similarity for neighbor in query.neighbors]
        assert similarities == sorted(similarities, reverse=True)
        for neighbor in query.neighbors:
            assert neighbor.same_class == (neighbor.label == query.label)
            y = features(neighbor.image)
            cosine = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
            assert neighbor.similarity == pytest.approx(cosine, abs=1e-4)


def test_the_search_can_be_shortened_and_the_data_replaced(run, image_folder):
    from mscn_plugin.report.neighbors import nearest_neighbors

    pretrained, config = run
    config["DATA"]["TRAIN"]["DATA_PATHS"] = ["/moved/train"]
    with pytest.raises(ConfigError, match=r"TRAIN.DATA_PATHS names '/moved/train', .*pass --data"):
        nearest_neighbors(pretrained, config)
    found = nearest_neighbors(pretrained, config, str(image_folder), max_images=5)
    assert found.searched == 5
    assert len(found.queries[0].neighbors) == 5
    # A folder without validation images: some of its images are held out.
    assert nearest_neighbors(pretrained, config, str(image_folder / "val")).searched == 9
    with pytest.raises(ConfigError, match="is not a folder"):
        nearest_neighbors(pretrained, config, str(image_folder / "none"))


def test_a_run_of_an_earlier_version_lacks_newer_keys(run):
    from mscn_plugin.report.neighbors import nearest_neighbors

    pretrained, config = run
    for key in ("CHANNELS", "PICTURE_CHANNELS", "ARRAY_LAYOUT"):
        config["MSCN"].pop(key)
    config["MSCN"].pop("ONLINE_EVALUATION")
    given = set(config["MSCN"])
    assert nearest_neighbors(pretrained, config).searched == 32
    assert set(config["MSCN"]) == given  # it is not changed


def test_packed_images_have_the_neighbors_of_the_folder(run, image_folder, tmp_path):
    from mscn_plugin.data.pack import Settings, pack
    from mscn_plugin.report.neighbors import nearest_neighbors

    pretrained, config = run
    pack(str(image_folder), tmp_path / "packed", Settings(images_per_shard=10))
    one, other = (
        nearest_neighbors(pretrained, config, str(data))
        for data in (image_folder, tmp_path / "packed")
    )
    assert (one.searched, one.judged, one.share) == (other.searched, other.judged, other.share)
    for query, same in zip(one.queries, other.queries):
        assert query.label == same.label
        assert query.image.tobytes() == same.image.tobytes()
        found = [neighbor.similarity for neighbor in query.neighbors]
        assert found == [neighbor.similarity for neighbor in same.neighbors]


def test_labels_of_two_folders_are_compared_by_name(run, image_folder, tmp_path):
    """The places of classes differ where one is missing; every share would be wrong."""
    from mscn_plugin.report.neighbors import nearest_neighbors

    pretrained, config = run
    data = shutil.copytree(image_folder, tmp_path / "data")
    shutil.rmtree(data / "val" / "class0")
    with pytest.raises(ConfigError, match="data/val has no 'class0'"):
        nearest_neighbors(pretrained, config, str(data))
    config["DATA"]["TEST"]["DATA_PATHS"] = [str(data / "val")]
    with pytest.raises(ConfigError, match="data/val has no 'class0'"):
        nearest_neighbors(pretrained, config)


def test_what_has_no_images_or_labels_is_one_sentence(run):
    from mscn_plugin.report.neighbors import nearest_neighbors

    pretrained, config = run
    config["DATA"]["TRAIN"]["LABEL_SOURCES"] = []
    with pytest.raises(ConfigError, match="LABEL_SOURCES"):
        nearest_neighbors(pretrained, config)
    config["DATA"]["TRAIN"].update(DATA_SOURCES=["synthetic"], DATA_PATHS=[], LABEL_PATHS=[])
    with pytest.raises(ConfigError, match=r"DATA_SOURCES are \['synthetic'\]"):
        nearest_neighbors(pretrained, config)
