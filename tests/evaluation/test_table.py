"""Table and plot of an evaluation."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("registered")

RESULTS = {
    "checkpoint": "/x/checkpoint.torch",
    "sha256": "0123456789abcdef",
    "sigma": 1.25,
    "method": "BYOL",
    "suite": "quick",
    "evaluations": {
        "quick_frozen": {"metrics": {"kNN, top-1": 31.04, "SVM, mAP": 40.0}},
        "quick_10percent": {"error": "it broke"},
        "quick_linear": {"metrics": {"linear probe, top-1": 45.0}},
    },
}
BASELINE = {"evaluations": {"quick_linear": {"metrics": {"linear probe, top-1": 30.0}}}}


def test_the_table_has_this_run_the_baseline_and_the_papers_rows_of_its_method():
    from mscn_plugin.evaluation.table import markdown

    text = markdown(RESULTS, BASELINE)
    (row,) = [line for line in text.splitlines() if line.startswith("| linear probe, top-1")]
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[2:-1] == ["45.0", "30.0", "69.5", "71.5", "74.3", "74.4"]
    (row,) = [line for line in text.splitlines() if line.startswith("| kNN, top-1")]
    assert [cell.strip() for cell in row.split("|")][2:-1] == ["31.0", *"-----"]
    assert "- quick_10percent: it broke" in text
    assert "BYOL + MSCN" in text
    assert "the paper, BYOL (cited)" in text
    assert "Table 2" not in text
    assert "The paper's linear probe is of 100 epochs (A.2), this one of 20, " in text
    assert "the paper" not in markdown(dict(RESULTS, method=None), BASELINE)


def test_a_baseline_of_something_else_says_so():
    from mscn_plugin.evaluation.table import markdown

    about = {"suite": "quick", "overrides": [], "measured_on": {"data": "8 images of /x"}}
    results = {**RESULTS, **about}
    assert "The baseline" not in markdown(results, {**BASELINE, **about})
    text = markdown(
        results,
        {
            **BASELINE,
            "suite": "paper",
            "overrides": ["config.MSCN.TRAIN_SUBSET=0.5"],
            "measured_on": {"data": "9 images of /y"},
        },
    )
    assert "The baseline's numbers are of the suite paper, not quick." in text
    assert "The baseline's overrides are others: `config.MSCN.TRAIN_SUBSET=0.5`." in text
    assert "The baseline was measured on other images: 9 images of /y." in text
    assert "The baseline does not state on which images" in markdown(results, BASELINE)


def test_areas_say_of_how_many_images_they_are():
    from mscn_plugin.evaluation.table import markdown

    def of(**images):
        occlusion = {"occlusion": {"shares": [0.0, 0.5], **images}}
        return {**RESULTS, "evaluations": {"quick_occlusion": occlusion}}

    text = markdown(of(images=2000), {**of(images=300), "overrides": []})
    assert "Areas (parts hidden) of 2000 validation images." in text
    assert "The baseline's areas are of 300 validation images." in text
    text = markdown(of(), None)  # of an earlier version
    assert "of at most config.MSCN.OCCLUSION_IMAGES, 2000 by default, validation images" in text


def test_untrained_trunk_and_histogram_have_columns_beside_their_areas(tmp_path):
    from mscn_plugin.evaluation.table import columns, markdown, plot

    occlusion = {
        "metrics": {"kNN, area: box, zeros": 9.0},
        "occlusion": {
            "shares": [0.0, 0.2, 0.5],
            "knn": {"box-zeros": [12.0, 9.0, 6.0]},
            "untrained": {"knn": {"box-zeros": [8.0, 6.0, 2.0]}},  # (0.2 * 7 + 0.3 * 4) / 0.5
            "color_histogram": {"knn": {"picture-box-gray": [5.0, 5.0, 5.0]}},
        },
    }
    evaluations = {**RESULTS["evaluations"], "quick_occlusion": occlusion}
    results = dict(RESULTS, evaluations=evaluations)
    table = columns(results, BASELINE)
    assert table["untrained trunk"] == {"kNN, area: box, zeros": pytest.approx(5.2)}
    assert table["color histogram"] == {"kNN, area: box of the picture, gray": 5.0}
    text = markdown(results, BASELINE)
    (row,) = [line for line in text.splitlines() if line.startswith("| kNN, area: box, zeros")]
    assert [cell.strip() for cell in row.split("|")][2:-1] == ["9.0", "-", "5.2", *"-----"]
    plot(results, BASELINE, tmp_path / "x.png")


def test_table_2_stands_beside_a_linear_probe_of_imagenet():
    from mscn_plugin.evaluation.table import markdown

    probe = {"imagenet1k_linear": {"metrics": {"linear probe, top-1": 71.0}}}
    results = dict(RESULTS, suite="paper", evaluations=probe)
    text = markdown(results, None)
    rows = text[text.index("Table 2") :].splitlines()
    assert [row.split("|")[-2].strip() for row in rows[2:9]] == [
        *("71.0", "79.9", "68.0", "78.3", "76.9", "76.5", "74.3"),
    ]
    assert "How Table 2's were measured is not stated" in text
    assert "| this checkpoint, linear probe " in text
    assert "Table 2" not in markdown(dict(results, method=None), None)


@pytest.mark.parametrize(
    ("subset", "title", "papers"),
    [
        (None, "fine-tuned with 1% of labels, top-1", True),
        ("0.01", "fine-tuned with 1% of labels, top-1", True),
        ("/lists/1percent.txt", "fine-tuned with 1% of labels, top-1", True),  # SimCLR's
        ("1.0", "fine-tuned with 100% of labels, top-1", False),
        ("10percent.txt", "fine-tuned with labels of 10percent.txt, top-1", False),
        ("/lists/mine", "fine-tuned with labels of mine, top-1", False),
    ],
)
def test_a_subset_that_is_overridden_is_named_and_not_beside_the_papers_share(
    tmp_path, subset, title, papers
):
    from mscn_plugin.evaluation.definitions import SUITES, subset_in
    from mscn_plugin.evaluation.table import columns, markdown, plot

    overrides = [f"config.MSCN.TRAIN_SUBSET={subset}"] if subset else []
    tuned = next(e for e in SUITES["paper"] if e.config == "imagenet1k_1percent")
    assert list(tuned.titled(subset_in(overrides)).metrics) == [title]
    entries = {"imagenet1k_1percent": {"metrics": {title: 50.0}}}
    entries["imagenet1k_linear"] = {"metrics": {"linear probe, top-1": 71.0}}
    results = dict(RESULTS, suite="paper", overrides=overrides, evaluations=entries)
    text = markdown(results, None)
    tuned, probe = (
        next(line.split("|")[2:-1] for line in text.splitlines() if line.startswith(f"| {start} "))
        for start in (title, "linear probe, top-1")
    )
    assert tuned[0].strip() == "50.0"
    assert ("54.0" in " ".join(tuned)) == papers
    whole = subset in (None, "1.0")
    assert ("71.5" in " ".join(probe)) == ("Table 2" in text) == whole
    said = f"The paper's numbers are left out for `config.MSCN.TRAIN_SUBSET={subset}`"
    assert (said in text) == (not papers or not whole)
    other = {"evaluations": {"imagenet1k_1percent": {"metrics": {"of another share": 40.0}}}}
    assert "| of another share " in markdown(results, other)
    assert columns(results, other)["baseline"] == {"of another share": 40.0}
    if subset == "1.0":
        plot(results, other, tmp_path / "x.png")


def test_shares_of_a_subset_are_of_its_labels():
    from mscn_plugin.evaluation.definitions import SUITES

    few = next(e for e in SUITES["quick"] if e.config == "quick_few_labels")
    assert next(iter(few.titled(0.5).metrics)) == "kNN, 1% of 50% of labels"
    assert list(few.titled("x.txt").metrics)[-1] == "linear probe, 10% of labels of x.txt"
    assert few.titled(1.0) is few
    for evaluation in SUITES["quick"]:  # whatever VISSL will refuse
        assert len(evaluation.titled([1]).metrics) == len(evaluation.metrics)


@pytest.mark.hydra
def test_the_share_of_an_evaluation_is_its_configs():
    from mscn_plugin.config.composed import composed
    from mscn_plugin.evaluation.definitions import SUITES

    shares = {e.config: e.share for suite in SUITES.values() for e in suite}
    some = ("quick_10percent", "imagenet1k_10percent", "imagenet1k_1percent", "quick_few_labels")
    for name in some:
        assert composed(f"mscn/benchmark/{name}")["MSCN"]["TRAIN_SUBSET"] == shares[name]
    assert {share for name, share in shares.items() if name not in some} == {1.0}


@pytest.mark.hydra
@pytest.mark.parametrize(
    ("config", "method"),
    [
        *(("simclr", "SimCLR"), ("quickstart", "SimCLR"), ("byol", "BYOL")),
        *(("byol_unmasked", "BYOL"), ("simsiam", None), ("simsiam_quickstart", None)),
        *(("dino", None), ("barlow_twins", None), ("swav", None), ("moco", None)),
    ],
)
def test_the_papers_rows_are_of_simclr_and_byol_and_of_no_other_method(config, method):
    """SimSiam is ``byol_loss`` without an average, and none of the paper's."""
    from mscn_plugin.config.composed import composed
    from mscn_plugin.evaluation.paper_results import paper_method, paper_rows

    assert paper_method(composed(f"mscn/{config}")) == method
    assert bool(paper_rows(method)) == bool(method)
    assert paper_method(None) is None


def test_the_papers_numbers_are_its_tables():
    """Tables 1 and 3, as the differences that they print."""
    from mscn_plugin.evaluation.paper_results import TABLES

    configs = (
        "imagenet1k_linear",
        "imagenet1k_1percent",
        "places205_linear",
        "inaturalist18_linear",
    )
    printed = {"SimCLR": (2.0, 5.7, 1.3, 1.0), "BYOL": (0.1, 2.0, 0.2, -3.3)}
    for method, gains in printed.items():
        for config, gain in zip(configs, gains):
            difference = TABLES[f"{method} + MSCN"][config] - TABLES[f"{method} (cited)"][config]
            assert difference == pytest.approx(gain, abs=1e-9)


@pytest.mark.parametrize("baseline", [None, BASELINE])
def test_the_plot_is_drawn(tmp_path, baseline):
    from PIL import Image

    from mscn_plugin.evaluation.table import plot

    plot(RESULTS, baseline, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert min(image.size) > 200
