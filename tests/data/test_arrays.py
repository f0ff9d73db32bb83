"""Files of arrays: values stay as they are, and what cannot be read is said in words."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from mscn_plugin.data.arrays import ArrayFormat, as_picture, read_array
from mscn_plugin.data.decoding import UnreadableImageError

RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def write(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, image=values)
    elif path.suffix == ".png":
        Image.fromarray(values).save(path)
    else:
        tifffile.imwrite(path, values)
    return str(path)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.tif", "A.TIFF", "a.png"])
def test_a_ramp_of_all_levels_stays_as_it_is(tmp_path, name):
    (image,) = read_array(write(tmp_path / name.lower(), RAMP), ArrayFormat(1))
    assert image.dtype == np.float32
    assert np.array_equal(image, RAMP)


@pytest.mark.parametrize(
    "kind",
    [">u2", "<u2", "u1", "i1", "i2", "u4", "i4", "i8", "u8", "f2", "f4", "f8", ">f8"],
)
def test_every_type_is_read_exactly(tmp_path, kind):
    values = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(kind)
    for stored in (values, np.asfortranarray(values)):
        image = read_array(write(tmp_path / "a.npy", stored), ArrayFormat(4))
        assert image.shape == (4, 5, 6)
        assert image.flags.c_contiguous
        assert np.array_equal(image, values.astype(np.float64))


@pytest.mark.parametrize(
    ("shape", "channels", "layout", "channels_at"),
    [
        ((5, 6), 1, "auto", None),
        ((1, 5, 6), 1, "auto", 0),
        ((5, 6, 1), 1, "auto", 2),
        ((13, 5, 6), 13, "auto", 0),
        ((5, 6, 13), 13, "auto", 2),
        ((4, 6, 4), 4, "channels_first", 0),
        ((4, 6, 4), 4, "channels_last", 2),
        ((64, 5, 6), 64, "auto", 0),
    ],
)
def test_the_number_of_channels_says_where_they_are(tmp_path, shape, channels, layout, channels_at):
    values = np.arange(np.prod(shape)).reshape(shape)
    image = read_array(write(tmp_path / "a.npy", values), ArrayFormat(channels, layout))
    expected = values[None] if channels_at is None else np.moveaxis(values, channels_at, 0)
    assert np.array_equal(image, expected)


@pytest.mark.parametrize(
    ("values", "channels", "layout", "message"),
    [
        (np.zeros((4, 6, 4)), 4, "auto", "both the first and the last.*MSCN.ARRAY_LAYOUT"),
        (np.zeros((3, 5, 6)), 4, "auto", r"its shape is \[3, 5, 6\]; with config.MSCN.CHANNELS 4"),
        (np.zeros((5, 4, 6)), 4, "auto", r"must be \[C, H, W\] or \[H, W, C\], C 4"),
        (np.zeros((4, 5, 6)), 4, "channels_last", r"must be \[H, W, C\], C 4"),
        (np.zeros((5, 6)), 4, "auto", r"its shape is \[5, 6\]"),
        (np.zeros(5), 1, "auto", r"its shape is \[5\].*\[H, W\] or"),
        (np.zeros((2, 1, 5, 6)), 1, "auto", "its shape is"),
        (np.array(3.0), 1, "auto", "its shape is"),
        (np.zeros((0, 6)), 1, "auto", "it is empty"),
        (np.array([[1, np.nan]]), 1, "auto", "not finite"),
        (np.array([[1, -np.inf]], np.float16), 1, "auto", "not finite"),
        (np.array([[2**24 + 1, 0]]), 1, "auto", "which float32"),
        (np.array([[2**32 - 1, 0]], np.uint32), 1, "auto", "which float32"),
        (np.array([[-(2**31), 0]], np.int32), 1, "auto", "which float32"),
        (np.array([[2**63, 0]], np.uint64), 1, "auto", "which float32"),
        (np.array([[2.0**24 + 1, 0]]), 1, "auto", "which float32"),
        (np.array([[1e300, 0]]), 1, "auto", "which float32"),
        (np.array([[1e-60, 0]]), 1, "auto", "which float32"),
        (1e6 + np.arange(4.0).reshape(2, 2) / 1e3, 1, "auto", "which float32"),
        (np.zeros((5, 6), bool), 1, "auto", "of type bool; they must be"),
        (np.zeros((5, 6), complex), 1, "auto", "of type complex128"),
        (np.zeros((5, 6), "U3"), 1, "auto", "of type <U3"),
        (np.zeros((5, 6), "M8[s]"), 1, "auto", r"of type datetime64\[s\]"),
        (np.zeros((5, 6), [("a", "f4")]), 1, "auto", "of type"),
        (np.zeros((5, 6), np.longdouble), 1, "auto", "of type float128"),
    ],
)
def test_what_cannot_be_read_is_said_in_words(tmp_path, values, channels, layout, message):
    path = write(tmp_path / "a.npy", values)
    with pytest.raises(UnreadableImageError, match=f"a.npy: .*{message}"):
        read_array(path, ArrayFormat(channels, layout))


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_nothing_is_ever_unpickled(tmp_path, name):
    class Runs:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    path = write(tmp_path / name, np.array([[Runs()]], object))
    (tmp_path / "ran").unlink(missing_ok=True)
    with pytest.raises(UnreadableImageError, match="it holds pickled objects"):
        read_array(path, ArrayFormat(1))
    np.array([[Runs()]], object).dump(tmp_path / "pickle.npy")
    with pytest.raises(UnreadableImageError):
        read_array(str(tmp_path / "pickle.npy"), ArrayFormat(1))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.tif", "a.png"])
@pytest.mark.parametrize("kept", [0, 10, 0.5, None])
def test_damaged_files_are_unreadable(tmp_path, name, kept):
    path = tmp_path / name
    write(path, RAMP)
    content = path.read_bytes()
    end = int(len(content) * kept) if isinstance(kept, float) else kept
    path.write_bytes(b"no array" if kept is None else content[:end])
    with pytest.raises(UnreadableImageError, match=name):
        read_array(str(path), ArrayFormat(1))


def test_an_archive_must_hold_one_array(tmp_path):
    np.savez(tmp_path / "a.npz", red=RAMP, nir=RAMP)
    with pytest.raises(UnreadableImageError, match=r"it holds 2 arrays \(red, nir\)"):
        read_array(str(tmp_path / "a.npz"), ArrayFormat(1))
    np.savez_compressed(tmp_path / "a.npz", RAMP)
    assert np.array_equal(read_array(str(tmp_path / "a.npz"), ArrayFormat(1))[0], RAMP)


def test_pages_and_bands_of_a_tiff_are_channels(tmp_path):
    bands = np.random.RandomState(0).randint(0, 65536, (5, 20, 30)).astype(np.uint16)
    pages, interleaved, planar = (tmp_path / f"{n}.tif" for n in ("pages", "interleaved", "planar"))
    with tifffile.TiffWriter(pages) as writer:
        for band in bands:
            writer.write(band, contiguous=False)
    tifffile.imwrite(interleaved, np.moveaxis(bands, 0, -1), planarconfig="contig")
    tifffile.imwrite(planar, bands, planarconfig="separate", compression="zlib")
    for path in (pages, interleaved, planar):
        assert np.array_equal(read_array(str(path), ArrayFormat(5)), bands)


def ome_xml(channels, parts):
    """What OME-XML says of an image [C, 8, 9] whose planes are in ``parts``."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="0">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" '
        f'SizeX="9" SizeY="8" SizeC="{channels}" SizeZ="1" SizeT="1">{"".join(parts)}</Pixels>'
        "</Image></OME>"
    )


def test_an_image_that_ome_spreads_over_files_is_refused(tmp_path):
    """Its other parts would be read too, and zeros in the place of those that are missing."""
    plane = np.ones((8, 9), np.uint16)
    for number, names in ((1, "a"), (2, "ab")):
        parts = (
            f'<TiffData FirstC="{c}" PlaneCount="1"><UUID FileName="{name}.ome.tif">{c}</UUID>'
            "</TiffData>"
            for c, name in enumerate(names)
        )
        xml = ome_xml(number, parts)
        tifffile.imwrite(tmp_path / f"{names}.ome.tif", plane, description=xml, metadata=None)
    assert np.array_equal(read_array(str(tmp_path / "a.ome.tif"), ArrayFormat(1))[0], plane)
    with pytest.raises(UnreadableImageError, match="spreads one image over 2 files"):
        read_array(str(tmp_path / "ab.ome.tif"), ArrayFormat(2))


@pytest.mark.parametrize("named", [(0, 1, 2, 3), (0, 1, 3), ()])
def test_pages_that_ome_names_and_a_file_lacks_are_no_zeros(tmp_path, named):
    """As of a recording that was broken off: four channels in the XML, and two or three pages."""
    parts = [
        f'<TiffData IFD="{page}" FirstC="{channel}" PlaneCount="1"/>'
        for page, channel in enumerate(named)
    ]
    path, pages = tmp_path / "a.ome.tif", 3 if len(named) == 3 else 2
    for written in (pages, 4):
        with tifffile.TiffWriter(path) as writer:
            for page in range(written):
                xml = None if page else ome_xml(4, parts or ["<TiffData/>"])
                plane = np.full((8, 9), page + 1, np.uint16)
                writer.write(plane, description=xml, metadata=None, contiguous=False)
        if written < 4 or len(named) == 3:
            with pytest.raises(UnreadableImageError, match="names 4 pages, and . are missing"):
                read_array(str(path), ArrayFormat(4))
        else:
            assert read_array(str(path), ArrayFormat(4))[:, 0, 0].tolist() == [1, 2, 3, 4]


def test_a_stack_of_imagej_has_one_page_for_all_planes(tmp_path):
    planes = np.arange(4 * 8 * 9, dtype=np.uint16).reshape(4, 8, 9)
    path, stated = tmp_path / "a.tif", "ImageJ=1.53\nimages=4\nchannels=4\nhyperstack=true\n"
    tifffile.imwrite(path, planes[0], description=stated, metadata=None)
    whole = path.read_bytes() + planes[1:].tobytes()  # where ImageJ writes the other planes
    path.write_bytes(whole)
    assert np.array_equal(read_array(str(path), ArrayFormat(4)), planes)
    path.write_bytes(whole[:-1])
    with pytest.raises(UnreadableImageError):
        read_array(str(path), ArrayFormat(4))


def test_smaller_copies_in_a_tiff_are_left_out_and_other_sizes_refused(tmp_path):
    overviews, odd = tmp_path / "overviews.tif", tmp_path / "odd.tif"
    with tifffile.TiffWriter(overviews) as writer:
        writer.write(RAMP)
        writer.write(RAMP[::2, ::2], subfiletype=1)
    assert np.array_equal(read_array(str(overviews), ArrayFormat(1))[0], RAMP)
    with tifffile.TiffWriter(odd) as writer:
        writer.write(RAMP)
        writer.write(RAMP[:100])
    with pytest.raises(UnreadableImageError, match="pages of one size and type, and has "):
        read_array(str(odd), ArrayFormat(1))


def test_a_png_whose_pixels_would_be_changed_is_unreadable(tmp_path):
    import cv2

    color = np.stack([RAMP] * 3, axis=-1)
    cv2.imwrite(str(tmp_path / "deep.png"), color)
    Image.fromarray(RAMP > 5).save(tmp_path / "bits.png")
    Image.fromarray(RAMP.astype(np.uint8)).convert("P").save(tmp_path / "palette.png")
    for name, channels in (("deep", 3), ("bits", 1), ("palette", 1)):
        with pytest.raises(UnreadableImageError, match="save it as TIFF or .npy"):
            read_array(str(tmp_path / f"{name}.png"), ArrayFormat(channels))
    eight = color.astype(np.uint8)
    Image.fromarray(eight).save(tmp_path / "rgb.png")
    image = read_array(str(tmp_path / "rgb.png"), ArrayFormat(3))
    assert np.array_equal(image, eight.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("channels", "shown", "expected"),
    [(1, None, [0] * 3), (2, None, [0] * 3), (4, None, [0, 1, 2]), (4, [3], [3] * 3)],
)
def test_pictures_for_people_are_stretched(channels, shown, expected):
    image = np.random.RandomState(0).rand(channels, 30, 40).astype(np.float32) * 1000 - 500
    image[:, 0, 0] = 1e6  # an outlier leaves the others visible
    picture = np.asarray(as_picture(image, shown))
    assert picture.shape == (30, 40, 3)
    assert picture.std() > 50
    single = [np.asarray(as_picture(image, [place]))[..., 0] for place in expected]
    assert np.array_equal(picture, np.stack(single, axis=-1))
