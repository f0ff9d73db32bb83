from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.usefixtures("registered")

LEFT = 14  # margin


def picture_of(figure):
    from mscn_plugin.training.contact_sheet import pixels_of

    return pixels_of(figure)


def tile_at(pixels, row, left, side=112):
    top = 14 // 2 + 24 + 19 + row * (side + 3)
    return pixels[top : top + side, left : left + side].astype(int)


@pytest.mark.parametrize("num_masks", [[2, 2], [1, 3]])
def test_one_image_per_row_and_one_view_per_column_behind_the_original(num_masks):
    from mscn_plugin.training.hooks.masked_views_picture import sheet_of_views

    # Half of view v of image i is 1, which is white, and half has a value of its own.
    values = torch.tensor([[10 * v + i for i in range(5)] for v in range(4)]) / 100.0
    views = values.flatten()[:, None, None, None].repeat(1, 3, 56, 56)
    views[..., :28] = 1
    originals = [Image.new("RGB", (30, 20), (200, 50, 9 * i)) for i in range(3)]
    pixels = picture_of(sheet_of_views(views, num_masks, originals, masked=True))
    lefts = [LEFT]
    for count in num_masks:
        lefts += [lefts[-1] + 112 + 16 + place * 115 for place in range(count)]
        lefts[-count:] = [lefts[-count] + place * 115 for place in range(count)]
    for i in range(3):
        original = tile_at(pixels, i, lefts[0])
        assert (original[30:80] == [200, 50, 9 * i]).all()
        assert (original[:15] == 255).all()  # the whole picture, in its own shape
        for v in range(4):
            tile = tile_at(pixels, i, lefts[1 + v])
            assert (tile[:, :56] == 255).all()
            assert np.abs(tile[:, 56:] - 127.5 * (1 + float(values[v, i]))).max() <= 1
    assert pixels.shape[1] == lefts[-1] + 112 + LEFT


def test_without_originals_there_are_the_views_alone():
    from mscn_plugin.training.hooks.masked_views_picture import sheet_of_views

    figure = sheet_of_views(torch.zeros(4, 3, 8, 8), [1, 1], [None, None], masked=False)
    words = [text.get_text() for text in figure.texts]
    assert words == ["branch 0", "", "branch 1", ""]
    assert (tile_at(picture_of(figure), 1, LEFT)[0, 0] == [128, 128, 128]).all()  # no information


def test_contrast_is_stretched_by_image_and_branch():
    from mscn_plugin.training.hooks.masked_views_picture import sheet_of_views

    views = torch.randn(4, 3, 64, 64) * torch.tensor([0.01, 100, 1, 7]).view(4, 1, 1, 1)
    pixels = picture_of(sheet_of_views(views, [1, 1], [None, None], masked=True))
    for row, left in ((0, LEFT), (0, LEFT + 144), (1, LEFT), (1, LEFT + 144)):
        tile = tile_at(pixels, row, left, side=128)
        assert (tile == 0).any()
        assert (tile == 255).any()
        assert tile.std() > 40


@pytest.mark.parametrize("momentum", [False, True])
def test_the_hook_writes_what_explains_the_method(compose, batch_folder, tmp_path, momentum):
    from vissl.hooks import SSLTensorboardHook

    from mscn_plugin.training.hooks.masked_views_picture import FILE_NAME, MaskedViewsPictureHook

    name = "moco" if momentum else "quickstart"
    overrides = ["+config/mscn/machine=cpu"] if momentum else []
    config = compose(f"config=mscn/{name}", f"config.MSCN.DATA={batch_folder}", *overrides)
    config.MSCN.PICTURE_IMAGES = 3
    views = torch.randn(4 * 5, 3, 32, 32)
    sample = {"input": views, "data_idx": [torch.arange(5).repeat(4)]}
    if momentum:
        sample = {"input": views[:5], "data_momentum": [views[5:10]], "data_idx": [torch.arange(5)]}
    asked, drawn = [], []
    dataset = SimpleNamespace(original=lambda index: asked.append(index))
    writer = SimpleNamespace(add_image=lambda *arguments, **options: drawn.append(arguments[1]))
    hook = SSLTensorboardHook.__new__(SSLTensorboardHook)
    hook.tb_writer = writer
    task = SimpleNamespace(
        train=True,
        iteration=0,
        config=config,
        hooks=[hook],
        datasets={"train": dataset},
        checkpoint_folder=str(tmp_path),
        last_batch=SimpleNamespace(sample=sample),
    )
    MaskedViewsPictureHook().on_forward(task)
    assert asked == [0, 1, 2]
    with Image.open(tmp_path / FILE_NAME) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), drawn[0])


def test_the_caption_says_what_was_done(compose, batch_folder):
    from mscn_plugin.training.hooks.masked_views_picture import caption_of

    data = f"config.MSCN.DATA={batch_folder}"
    caption = caption_of(compose("config=mscn/quickstart", data))
    assert "sigma 1.25 pixels" in caption
    assert "noise over parts of the views" in caption
    page = ("config=mscn/simclr_unmasked", "+config/mscn/machine=cpu")
    caption = caption_of(compose(*page, data))
    assert "sigma" not in caption
    assert "mask" not in caption


OWN, SAME = (
    "of which each branch sees a crop of its own.",
    "of which both branches see the same crop.",
)
COLLATOR = "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS"


@pytest.mark.parametrize(
    ("overrides", "crops", "masks"),
    [
        (
            ["config=mscn/trajectory/01_mask_only"],
            SAME,
            "Masks put gray over parts of the views, in",
        ),
        (["config=mscn/trajectory/04_different_crops"], OWN, "in all colors at once."),
        (
            ["config=mscn/trajectory/11_final"],
            OWN,
            "noise over parts of the views, in all colors at",
        ),
        (["config=mscn/trajectory/same_view"], SAME, "noise over"),
        (
            ["config=mscn/trajectory/mask_only_multimask"],
            "Each row is one image. The",
            "noise over",
        ),
        (
            ["config=mscn/simclr", f"+{COLLATOR}.view_per_mask=True"],
            "of which each view is a crop of its own.",
            "or in each by itself.",
        ),
        (
            [
                "config=mscn/simclr",
                f"{COLLATOR}.noise_std=[0,0.3]",
                f"{COLLATOR}.channelwise_probability=1",
            ],
            OWN,
            "Masks put gray or noise over parts of the views, in each of the colors by itself.",
        ),
        (["config=mscn/simclr", f"{COLLATOR}.ratio=0"], OWN, None),
    ],
    ids=lambda value: value[0].split("/")[-1] if isinstance(value, list) else "",
)
def test_the_caption_is_that_of_the_configuration(compose, batch_folder, overrides, crops, masks):
    from mscn_plugin.training.hooks.masked_views_picture import caption_of

    data = f"config.MSCN.DATA={batch_folder}"
    caption = caption_of(compose(*overrides, "+config/mscn/machine=cpu", data))
    assert crops in caption
    assert (masks or "The loss makes the views") in caption
    assert ("Masks put" in caption) == (masks is not None)
