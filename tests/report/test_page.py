"""The page as a whole, as text and as a browser sees it."""

from __future__ import annotations

import html.parser
import json
import shutil

import numpy as np
import pytest
import yaml
from run_folders import write_lines, write_run

from mscn_plugin import ConfigError

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def run(compose, tiny, tmp_path):
    return write_run(tmp_path / "run", compose("config=mscn/quickstart", *tiny))


class Elements(html.parser.HTMLParser):
    """Names and attributes of a page's elements, and its text."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def named(self, name):
        return [attributes for tag, attributes in self.found if tag == name]


def test_the_page_has_all_of_a_run_and_stands_alone(run, tmp_path):
    from mscn_plugin.report.page import write_report

    file = write_report(run)
    assert file == run / "report.html"
    page = file.read_text(encoding="utf-8")
    elements = Elements(page)
    # Curves, masked views, and six validation images with six neighbors each; no kernels of 3 x 3.
    pictures = elements.named("img")
    assert len(pictures) == 4 + 1 + 6 * 7
    assert all(picture["src"].startswith("data:image/") for picture in pictures)
    assert all(picture["alt"] for picture in pictures)
    assert not elements.named("script")
    assert {link["href"] for link in elements.named("link")} == {"data:,"}
    for _, attributes in elements.found:
        assert not any(name.startswith("on") for name in attributes)
    assert elements.named("html") == [{"lang": "en"}]
    assert "does not tell images apart" not in elements.text
    for text in (
        "pre-trained trunk, 2 epochs",
        "41.3",
        "before training",
        "20.0",
        "after 2 of 1 epochs",
        "kernels of the trunk's first convolution are of 3 x 3 pixels, too few",
        "top 0.",
        "of images at random 25.0% (chance)",
    ):
        assert text in elements.text
    assert "mscn_info_nce_loss" in elements.text
    assert (run / "train_config.yaml").read_text() in elements.text
    assert [path.name for path in run.glob("*.tmp")] == []
    # The same run gives the same page.
    again = write_report(run / "model_phase1.torch", tmp_path / "new" / "b.html")
    assert again.read_bytes() == file.read_bytes()


def test_curves_of_hidden_shares_and_boxes_are_shown_of_this_checkpoint_alone(run):
    from mscn_plugin.evaluation.definitions import CLASSIFIERS, CONDITIONS
    from mscn_plugin.files import file_digest
    from mscn_plugin.report.page import write_report

    curves = {name: {key: [40.0, 12.5] for key in CONDITIONS} for name in CLASSIFIERS}
    numbers = {"trunk": 47.94, "untrained": 46.58, "mean_box": 45.85}
    mean_iou = {key: {"percent": v, "interval": [v - 1, v + 1]} for key, v in numbers.items()}
    left_out = {"without a box": 7}
    boxes = {"mean_iou": mean_iou, "images": 93, "file": "/d/boxes.csv", "left_out": left_out}
    measured = {
        "quick_occlusion": {"occlusion": {"shares": [0.0, 0.7], **curves}},
        "quick_boxes": {"boxes": boxes},
    }
    (run / "evaluation").mkdir()
    for digest in (file_digest(run / "checkpoint.torch"), "another"):
        about = {"measured_on": {"data": "24 images of /B"}, "overrides": ["config.A='<b>'"]}
        results = {"sha256": digest, "evaluations": measured, "assumed": ["it's RGB"], **about}
        (run / "evaluation" / "results.json").write_text(json.dumps(results))
        page = Elements(write_report(run).read_text())
        texts = [p["alt"] for p in page.named("img") if "share hidden" in p["alt"]]
        assert len(texts) == (0 if digest == "another" else 2)
        assert all("cells, zeros from 40 at share hidden in % 0 to 12.5" in t for t in texts)
        text = " ".join(page.text.split())
        shown = "trunk47.9 untrained trunk46.6 mean box45.9"
        about = "Boxes of 93 validation images, of /d/boxes.csv (left out: 7 without a box); 95%"
        assert (shown in text) == (about in text) == (digest != "another")
        assert ("Of at most config.MSCN.OCCLUSION_IMAGES, 2000 by" in text) == (digest != "another")
        conditions = (
            "Warning: it's RGB. Measured on: 24 images of /B. Not as the configs stand: "
            "config.A='<b>' "
        )
        assert text.count(conditions) == (0 if digest == "another" else 2)


def test_text_is_escaped(run, tmp_path, image_folder):
    """What a folder, a class or a configuration is called cannot become a part of the page."""
    from mscn_plugin.report.page import write_report

    nasty = "<script>&'<img src=x onerror=alert(1)>"
    data = tmp_path / "data"
    shutil.copytree(image_folder, data)
    for split in ("train", "val"):
        (data / split / "class0").rename(data / split / nasty)
    folder = tmp_path / nasty
    run.rename(folder)
    file = folder / "train_config.yaml"
    config = yaml.safe_load(file.read_text())
    config["MODEL"]["HEAD"]["PARAMS"] = nasty
    file.write_text(yaml.safe_dump(config))
    write_lines(
        folder / "metrics.json",
        {"train_phase_idx": 0, "online_evaluation": {"knn": 1.0, "linear_probe": 2.0}},
    )
    elements = Elements(write_report(folder, data=str(data)).read_text())
    assert not elements.named("script")
    assert all(picture["src"].startswith("data:image/") for picture in elements.named("img"))
    assert f"Pre-training run {nasty}" in elements.text
    assert f"= {nasty}" in elements.text


def test_a_run_that_left_little_still_has_a_page(run):
    from mscn_plugin.report.page import write_report

    for name in ("stdout.json", "metrics.json", "embedding_statistics.json", "masked_views.png"):
        (run / name).unlink()
    file = run / "train_config.yaml"
    config = yaml.safe_load(file.read_text())
    config["DATA"]["TRAIN"]["DATA_PATHS"] = ["/moved/train"]
    file.write_text(yaml.safe_dump(config))
    elements = Elements(write_report(run).read_text())
    assert not elements.named("img")
    for text in (
        "The run has no online evaluation",
        "no logs with a loss",
        "no readable picture",
        "Not shown: config.DATA.TRAIN.DATA_PATHS names '/moved/train', which is not there",
    ):
        assert text in elements.text


def test_what_is_no_run_is_one_sentence(run, tmp_path, image_folder):
    from mscn_plugin.report.page import write_report

    config = run / "train_config.yaml"

    def refused(message, *arguments, **options):
        with pytest.raises(ConfigError, match=message) as caught:
            write_report(*arguments, **options)
        assert "\n" not in str(caught.value)

    refused("is not a file", tmp_path / "none")
    refused("is not a file", image_folder)
    refused("is a folder; it must be a file", run, tmp_path)
    refused("--max-images is 0", run, max_images=0)
    refused("'/none', which is not a folder", run, data="/none")
    content = yaml.safe_load(config.read_text())
    mscn = content.pop("MSCN")
    config.write_text(yaml.safe_dump(content))
    refused(r"train_config.yaml has no config\.MSCN", run)
    config.write_text(yaml.safe_dump({"MSCN": mscn}))
    refused("train_config.yaml is not a configuration of VISSL", run)
    config.write_text("a: [")
    refused("train_config.yaml is not a configuration of plain values", run)
    config.unlink()
    refused("has no train_config.yaml beside it", run)
    (run / "model_phase1.torch").write_text("junk")
    refused("model_phase1.torch is damaged", run)
    assert not (run / "report.html").exists()


def test_a_browser_shows_it_offline_and_without_complaint(run, browser):
    from mscn_plugin.report.page import write_report

    page = write_report(run)
    assert browser.look_at(page, 1280).width <= 1280
    seen = browser.look_at(page, 390, screenshot=True)
    assert seen.width <= 390
    assert seen.complaints == []
    assert seen.requests
    assert all(url.startswith("data:") for url in seen.requests)
    assert len(seen.pictures) == 4 + 1 + 6 * 7
    assert all(text and width > 0 for text, width in seen.pictures)
    pixels = np.asarray(seen.screenshot.convert("L"))
    assert pixels[0, 0] == 255
    assert pixels.min() < 60


def test_kernels_and_a_collapse_are_shown_where_there_is_something_to_see(compose, tiny, tmp_path):
    from mscn_plugin.report.page import write_report

    stem = "+config.MODEL.TRUNK.SMALL_RESNET.STEM_KERNEL=7"
    folder = write_run(tmp_path / "run", compose("config=mscn/quickstart", *tiny, stem))
    line = {"iteration": 7, "std": 0.1, "positive_similarity": 0.9, "negative_similarity": 0.9}
    (folder / "embedding_statistics.json").write_text(json.dumps(line) + "\n")
    page = Elements(write_report(folder).read_text())
    alternatives = [img["alt"] for img in page.named("img")]
    assert "Grid of the 4 first-layer kernels, 7 x 7 pixels each" in alternatives
    assert "does not tell images apart" in page.text


def test_the_browser_would_tell(browser, tmp_path):
    """What the test above looks for is seen where it is there."""
    page = tmp_path / "a.html"
    page.write_text(
        "<img src='http://example.invalid/a.png' alt='far'><img src='data:image/png;base64,AAAA'>"
        "<script>console.error('a complaint')</script>"
    )
    seen = browser.look_at(page)
    assert "http://example.invalid/a.png" in seen.requests
    assert seen.pictures == [("far", 0), ("", 0)]
    assert any("a complaint" in text for text in seen.complaints)
    assert any("ERR_NAME_NOT_RESOLVED" in text for text in seen.complaints)


@pytest.mark.process
def test_a_real_run_has_a_page(checkpoints, tmp_path):
    from mscn_plugin.report.page import write_report

    elements = Elements(write_report(checkpoints["byol"], tmp_path / "a.html").read_text())
    assert len(elements.named("img")) == 3 + 1 + 6 * 7
    assert "after 1 of 1 epochs" in elements.text
