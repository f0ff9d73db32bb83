"""Boxes from frozen spatial features: geometry, regression, and a suite's run of seconds."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscn_plugin import ConfigError

pytestmark = pytest.mark.usefixtures("registered")

NAMES = [f"n{number}/{number}.png" for number in range(400)]
TRANSFORMS = [{"name": "Resize", "size": 64}, {"name": "CenterCrop", "size": 56}]


def random_boxes(number=400):
    random = np.random.RandomState(0)
    corners = random.uniform(0, 0.4, (number, 2))
    return np.hstack([corners, corners + random.uniform(0.2, 0.6, (number, 2))])


def test_the_overlap_is_intersection_over_union():
    from mscn_plugin.evaluation.boxes import overlap

    boxes = np.array([[0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 4, 1], [3, 0, 1, 1], [1, 1, 1, 1]], float)
    others = np.array([[1, 0, 3, 2], [2, 2, 3, 3], [0, 0, 4, 1], [0, 0, 2, 2], [1, 1, 1, 2]], float)
    # 2 of 4 + 4 - 2; apart; the same; the right border is left of the left one; no areas.
    assert overlap(boxes, others) == pytest.approx([1 / 3, 0, 1, 0, 0])


@pytest.mark.parametrize("width", [20, 300])
def test_the_regression_is_scikit_learns_ridge_on_standardized_features(width):
    """With fewer features than images, and with more."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from mscn_plugin.evaluation.boxes import ridge

    random = np.random.RandomState(1)
    features = (random.randn(150, width) * 3 + random.randn(width)).astype(np.float32)
    features[:, 0] = 0.1  # constant, which float64 means of float32 do not hit
    x, queries, boxes = features[:100], features[100:], random_boxes(100)
    found = ridge(x, boxes, queries, (0.01, 1.0, 1e4))
    for predicted, penalty in zip(found, (0.01, 1.0, 1e4)):
        known = make_pipeline(StandardScaler(), Ridge(penalty, solver="svd"))
        expected = known.fit(x.astype(float), boxes).predict(queries.astype(float)).clip(0, 1)
        np.testing.assert_allclose(predicted, expected, atol=1e-9)


def test_features_that_know_the_box_find_it_and_those_of_other_images_do_not():
    from mscn_plugin.evaluation.boxes import cross_validated, folds_of, mean_boxes, overlap

    random, boxes, folds = np.random.RandomState(2), random_boxes(), folds_of(NAMES)
    known = np.hstack([boxes @ random.randn(4, 12), random.randn(len(boxes), 4)])
    predicted, penalties = cross_validated(known, boxes, folds)
    assert overlap(predicted, boxes).mean() > 0.97
    assert max(penalties) <= 1
    mixed, _ = cross_validated(known[random.permutation(len(boxes))], boxes, folds)
    constant = overlap(mean_boxes(boxes, folds), boxes).mean()
    assert overlap(mixed, boxes).mean() == pytest.approx(constant, abs=0.02)
    # In another order of images nothing else comes out.
    order = random.permutation(len(boxes))
    again = cross_validated(known[order], boxes[order], folds_of([NAMES[i] for i in order]))[0]
    np.testing.assert_allclose(again, predicted[order], atol=1e-9)


def test_what_is_measured_on_has_no_part_in_what_is_learned():
    from mscn_plugin.evaluation.boxes import cross_validated, folds_of, mean_boxes

    random, boxes, folds = np.random.RandomState(3), random_boxes(100), folds_of(NAMES[:100])
    assert np.bincount(folds).tolist() == [20] * 5
    features = np.hstack([boxes, random.randn(100, 30)])
    predicted, penalties = cross_validated(features, boxes, folds)
    others = boxes.copy()
    others[folds == 0] = others[folds == 0][::-1]
    changed, changed_penalties = cross_validated(features, others, folds)
    np.testing.assert_array_equal(changed[folds == 0], predicted[folds == 0])
    assert changed_penalties[0] == penalties[0]
    assert not np.array_equal(changed[folds == 1], predicted[folds == 1])
    expected = boxes[folds != 4].mean(axis=0)
    np.testing.assert_allclose(mean_boxes(boxes, folds)[folds == 4], np.tile(expected, (20, 1)))


def test_the_interval_is_that_of_a_mean():
    from mscn_plugin.evaluation.boxes import interval

    values = np.random.RandomState(4).uniform(0, 100, 2000)
    low, high = interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 2000**0.5, rel=0.1)
    assert interval(values) == [low, high]


@pytest.mark.parametrize("size", [(64, 64), (200, 90), (75, 131), (31, 50)])
@pytest.mark.parametrize(
    "transforms",
    [
        TRANSFORMS,
        [{"name": "Resize", "size": [40, 60]}, {"name": "CenterCrop", "size": [32, 48]}],
        [{"name": "CenterCrop", "size": 56}, {"name": "Resize", "size": [50]}],
    ],
)
def test_a_rectangle_is_where_the_trunk_sees_it(size, transforms):
    """Resized and cropped by VISSL; a picture that is smaller than the crop lies in its middle."""
    from vissl.data.ssl_transforms import get_transform

    from mscn_plugin.evaluation.boxes import on_crop

    width, height = size
    left, top, right, bottom = 0.3 * width, 0.45 * height, 0.6 * width, 0.8 * height
    corners = np.rint([left, top, right, bottom]).astype(int)
    pixels = np.zeros((height, width), np.uint8)
    pixels[corners[1] : corners[3], corners[0] : corners[2]] = 255
    sections = [*copy.deepcopy(transforms), {"name": "ToTensor"}]
    transform = get_transform(sections)
    (image,) = transform({"data": [Image.fromarray(pixels).convert("RGB")]})["data"]
    rows, columns = (np.flatnonzero((image[0] > 0.5).any(dim=axis)) for axis in (1, 0))
    seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    sides = [image.shape[2], image.shape[1]]
    found = on_crop(corners.astype(float), size, [*transforms, {"name": "ToTensor"}])
    # An edge lies within a pixel of the image's, or of what one of the picture becomes.
    assert np.abs(found * np.tile(sides, 2) - seen).max() < 1.01


def test_nothing_is_left_of_what_is_cropped_away_and_what_moves_boxes_is_refused():
    from mscn_plugin.evaluation.boxes import on_crop

    whole = on_crop(np.array([0.0, 0, 200, 100]), (200, 100), TRANSFORMS)
    assert whole.tolist() == [0, 0, 1, 1]
    left, _, right, _ = on_crop(np.array([0.0, 0, 40, 100]), (200, 100), TRANSFORMS)
    assert left == right == 0
    for transform in (
        {"name": "RandomHorizontalFlip"},
        {"name": "Resize", "size": 64, "max_size": 80},
    ):
        with pytest.raises(ConfigError, match=r"TRANSFORMS\[2\] is .*, which may move boxes; for"):
            on_crop(np.ones(4), (8, 8), [*TRANSFORMS, transform])


def arguments(checkpoints, data):
    return (
        "config=mscn/benchmark/quick_boxes",
        "config.MODEL.TRUNK.SMALL_RESNET.WIDTH=4",
        f"config.MODEL.WEIGHTS_INIT.PARAMS_FILE={checkpoints['simclr']}/checkpoint.torch",
        f"config.MSCN.DATA={data}",
    )


@pytest.fixture(scope="session")
def rectangles(once):
    """A bright square in each of 200 validation images of 48 x 64 pixels, and the list of them."""

    def write(folder: Path) -> None:
        random, lines = np.random.RandomState(0), ["image,x0,y0,x1,y1"]
        for number in range(208):
            pixels = random.randint(0, 60, (64, 48, 3)).astype(np.uint8)
            left, top = random.randint(4, 28), random.randint(12, 36)
            pixels[top : top + 16, left : left + 16] = 255
            split = "train" if number < 8 else "val"
            file = folder / split / f"class{number % 2}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
            lines.append(f"{file.name},{left},{top},{left + 16},{top + 16}")
        # An image without a box, one without area, one that is cropped away; training's are unused.
        lines.pop()
        lines[-1] = "206.png,5,5,5,9"
        lines[-2] = "205.png,0,0,48,3"
        (folder / "boxes.csv").write_text("\n".join(lines) + "\n")

    return once("rectangles", write)


def test_boxes_are_those_of_the_images_wherever_these_lie(
    compose, checkpoints, rectangles, tmp_path
):
    from mscn_plugin.evaluation.boxes import objects_of

    objects = objects_of(compose(*arguments(checkpoints, rectangles)))
    assert objects.file == rectangles / "boxes.csv"
    assert objects.named == f"{rectangles.name}/boxes.csv"
    assert objects.left_out == {
        "without a box": 1,
        "with a box without area": 1,
        "with a box that was cropped away": 1,
    }
    place = objects.names.index("class1/9.png")
    _, left, top, *_ = (rectangles / "boxes.csv").read_text().splitlines()[10].split(",")
    # 48 pixels become 64, of which 4 are cut on either side; 64 become 85, of which 14 are cut.
    expected = np.array([float(left) * 64 / 48 - 4, float(top) * 85 / 64 - 14]) / 56
    np.testing.assert_allclose(objects.boxes[place, :2], expected)
    lines = objects.file.read_text().splitlines()
    (tmp_path / "val.csv").write_text("\n".join([lines[0], *lines[9:]]))
    named = f"config.MSCN.BOXES={tmp_path}/val.csv"
    held_out = objects_of(compose(*arguments(checkpoints, rectangles / "val"), named))
    assert len(held_out.names) == 40
    assert (held_out.file, held_out.named) == (tmp_path / "val.csv", "val.csv")
    np.testing.assert_array_equal(
        held_out.boxes, objects.boxes[[objects.names.index(name) for name in held_out.names]]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9.png,0,0,49,9", r"line 1: the box \[0.0, 0.0, 49.0, 9.0\] of '9.png' must lie in the "),
        ("9.png,-1,0,9,9", "line 1: the box .* of '9.png' must lie in the picture, of 48 x 64 p"),
        ("9.png,0,20,30,40\n8.png,0,20,30,40", "for 2 of 200 validation images; .* at least 10"),
        ("x.png,0,0,9,9", "line 1, names 'x.png', and no image of the data"),
    ],
)
def test_what_cannot_be_used_is_said(compose, checkpoints, rectangles, tmp_path, text, message):
    from mscn_plugin.evaluation.boxes import objects_of

    (tmp_path / "x.csv").write_text(text)
    named = f"config.MSCN.BOXES={tmp_path}/x.csv"
    with pytest.raises(ConfigError, match=message):
        objects_of(compose(*arguments(checkpoints, rectangles), named))


def test_without_a_list_the_engine_says_which_names_it_may_have(compose, checkpoints, image_folder):
    from mscn_plugin.evaluation.boxes import objects_of

    with pytest.raises(ConfigError, match="config.MSCN.BOXES is '', and there is no boxes.csv"):
        objects_of(compose(*arguments(checkpoints, image_folder)))


@pytest.mark.process
def test_a_suite_measures_boxes_and_leaves_them_out_where_there_are_none(
    mscn, checkpoints, rectangles, image_folder, tmp_path, capsys
):
    small = ("--overrides", "config.DATA.NUM_DATALOADER_WORKERS=0")

    def evaluate(name, *options):
        with pytest.raises(SystemExit) as ended:
            mscn(
                *("evaluate", checkpoints["simclr"], "--output", tmp_path / name),
                *(*options, "--only", "quick_boxes", *small),
            )
        results = json.loads((tmp_path / name / "results.json").read_text())
        return ended.value.code, results["evaluations"]["quick_boxes"]

    code, entry = evaluate("a", "--data", rectangles)
    assert not code, entry
    trunk, untrained, mean_box = (
        entry["metrics"][f"boxes, mean IoU of the {of}"]
        for of in ("trunk", "untrained trunk", "mean box")
    )
    assert min(trunk, untrained) > mean_box + 5
    measured = entry["boxes"]
    assert measured["images"] == 197
    assert measured["file"] == f"{rectangles.name}/boxes.csv"
    assert measured["mean_iou"]["trunk"]["percent"] == trunk
    low, high = measured["mean_iou"]["trunk"]["interval"]
    assert low < trunk < high
    said = capsys.readouterr().out
    assert (
        f"Boxes of 197 validation images, of {rectangles.name}/boxes.csv (left out: 1 with" in said
    )
    assert f"95% intervals over images: trunk {low:.1f} to {high:.1f}, untrained trunk " in said
    # Nothing is measured again, but where the list has changed.
    assert evaluate("a", "--data", rectangles)[1]["reused"]
    (tmp_path / "b.csv").write_text("9.png,0,0,99,9\n")
    code, entry = evaluate("a", "--data", rectangles, "--boxes", tmp_path / "b.csv")
    assert code == 1
    assert "b.csv, line 1: the box [0.0, 0.0, 99.0, 9.0] of '9.png' must lie in" in entry["error"]
    code, entry = evaluate("c", "--data", image_folder)
    assert not code
    assert entry == {
        "skipped": f"{image_folder} has no list of boxes (boxes.csv, boxes.tsv, "
        "val_boxes.csv, val_boxes.tsv, val_annotations.txt)"
    }
    assert "Left out:\n\n- quick_boxes: " in (tmp_path / "c" / "results.md").read_text()
