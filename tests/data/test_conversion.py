import io
import sys

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from podium.config.reading import AS_USUAL, Intensity, Reading
from podium.data import image_headers, intensity, tiff
from podium.data.catalogue import read_catalogue
from podium.data.image_headers import is_plain
from podium.data.image_paths import ImagePaths
from podium.data.images import Scaling, read_image, read_scaled, why_unreadable
from podium.data.intensity import to_bytes
from podium.errors import DataError

FULL, TWELVE_BITS = Reading(Intensity(rule="full")), Reading(Intensity(low=0, high=4095))


def ramp(dtype=np.uint16, largest=4095, side=64):
    """From 0 to the largest value, left to right and top to bottom."""
    return np.linspace(0, largest, side * side).reshape(side, side).astype(dtype)


def write(path, pixels):
    """Pixels as OpenCV writes them: BGR, BGRA or grey."""
    assert cv2.imwrite(str(path), pixels)
    return path


def saved(path, image, **options):
    image.save(path, **options)
    return path


def npy(path, array):
    np.save(path, array)
    return path


def levels(path, reading=AS_USUAL):
    return len(np.unique(read_image(path, reading)))


def notes(*paths, reading=AS_USUAL):
    return read_catalogue(ImagePaths.of(paths).read_as(reading)).notes


# More than 8 bits


@pytest.mark.parametrize("ending", ["png", "tiff", "pgm", "npy"])
def test_twelve_bits_in_sixteen_keep_their_grey_levels(tmp_path, ending):
    path = tmp_path / f"scan.{ending}"
    npy(path, ramp()) if ending == "npy" else write(path, ramp())
    assert levels(path, FULL) == 17  # as good as decoding to 8 bits, which gives 16
    assert levels(path) > 240
    assert levels(path, TWELVE_BITS) == 256
    image = read_image(path, TWELVE_BITS)
    assert image.shape == (64, 64, 3)
    assert np.array_equal(image[..., 0], np.rint(ramp() / 4095 * 255))
    assert (image == image[..., :1]).all()
    assert notes(path) == [
        "1 images have more than 8 bits, scaled by intensity: auto (the window of a DICOM file, else the 1st to 99th"
        " percentile of the image)"
    ]
    assert notes(path, reading=TWELVE_BITS) == ["1 images have more than 8 bits, scaled by intensity: 0-to-4095"]


def test_each_rule_has_its_black_and_white():
    values = np.arange(0, 10_001, dtype=np.uint16).reshape(1, -1)

    def bounds(**keys):
        scaled = to_bytes(values, Intensity(**keys))[0]
        return int(values[0, scaled == 0][-1]), int(values[0, scaled == 255][0])

    assert bounds(low=1000, high=3550) == pytest.approx((1005, 3545), abs=1)  # half a grey level more and less
    assert bounds(percentile=[10, 90]) == pytest.approx((1000, 9000), abs=20)
    assert bounds(rule="auto") == pytest.approx((100, 9900), abs=25)
    assert to_bytes(values, Intensity(rule="full")).max() == round(10_000 / 65535 * 255)


def test_floats_are_scaled(tmp_path):
    path = write(tmp_path / "a.tiff", ramp(np.float32, 1.0))
    assert levels(path) > 240
    assert np.array_equal(read_image(path, FULL)[..., 1], np.rint(ramp(np.float32, 1.0) * 255))
    path = npy(tmp_path / "b.npy", ramp(np.float16, 100))
    assert "its values are from 0 to 100; expected floats from 0 to 1" in why_unreadable(path, FULL)
    assert levels(path) > 240


def test_values_that_are_not_finite_are_black_or_white():
    values = np.array([[0.0, 1.0, 2.0, np.nan, np.inf, -np.inf]])
    assert to_bytes(values, Intensity(low=0, high=2)).tolist() == [[0, 128, 255, 0, 255, 0]]
    assert to_bytes(values, Intensity(percentile=[0, 100])).tolist() == [[0, 128, 255, 0, 255, 0]]
    assert to_bytes(np.full((2, 2), np.nan), Intensity(rule="auto")).tolist() == [[0, 0], [0, 0]]


def test_an_image_of_mostly_one_value_keeps_the_others():
    values = np.zeros((100, 100), np.uint16)
    values[0, 0] = 900
    scaled = to_bytes(values, Intensity(rule="auto"))
    assert (scaled[0, 0], scaled[1:].max()) == (255, 0)
    assert not to_bytes(np.full((4, 4), 7, np.uint16), Intensity(rule="auto")).any()


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32, np.int64, np.float64])
def test_arrays_may_have_any_type_of_numbers(tmp_path, dtype):
    path = npy(tmp_path / "a.npy", ramp(dtype, 3000) - dtype(5))
    assert levels(path) > 240


def test_arrays_of_eight_bits_and_masks_stay_as_they_are(tmp_path):
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert np.array_equal(read_image(npy(tmp_path / "a.npy", pixels)), pixels)
    assert np.array_equal(read_image(npy(tmp_path / "b.npy", np.moveaxis(pixels, 2, 0).copy())), pixels)
    assert np.unique(read_image(npy(tmp_path / "c.npy", pixels[..., 0] > 9))).tolist() == [0, 255]
    assert notes(tmp_path / "a.npy", tmp_path / "b.npy", tmp_path / "c.npy") == []


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4, 5)), "it has the shape (4, 4, 5); expected (height, width), with 1 or 3 channels"),
        (np.zeros(4), "it has the shape (4,)"),
        (np.zeros((0, 4)), "it has the shape (0, 4)"),
        (np.array([["a"]]), "its values are of the type <U1; expected numbers"),
        (np.array([[{}]]), "it is not a complete array (Object arrays cannot be loaded"),
    ],
)
def test_arrays_that_are_not_images_say_why(tmp_path, array, reason):
    assert reason in why_unreadable(npy(tmp_path / "a.npy", array))


# Transparency


RED, GLASS = (200, 10, 20, 255), (250, 250, 250, 0)


def half_transparent(mode="RGBA"):
    pixels = np.full((8, 12, 4), RED, np.uint8)
    pixels[:, 6:] = GLASS
    pixels[0, 0, 3] = 128
    return Image.fromarray(pixels, "RGBA").convert(mode)


@pytest.mark.parametrize(("ending", "options"), [("png", {}), ("webp", {"lossless": True}), ("tiff", {})])
def test_transparent_parts_become_black(tmp_path, ending, options):
    path = saved(tmp_path / f"a.{ending}", half_transparent(), **options)
    image = read_image(path)
    assert image.shape == (8, 12, 3)
    assert image[4, 3].tolist() == [200, 10, 20]
    assert image[0, 0].tolist() == [100, 5, 10]
    assert not image[:, 6:].any()
    assert notes(path) == ["1 images are partly transparent, on black"]


def test_palettes_and_grey_images_may_be_transparent(tmp_path):
    palette = Image.fromarray(np.arange(4, dtype=np.uint8)[None], "P")
    palette.putpalette([250, 0, 0, 0, 250, 0, 0, 0, 250, 9, 9, 9])
    path = saved(tmp_path / "a.png", palette, transparency=0)
    assert read_image(path)[0].tolist() == [[0, 0, 0], [0, 250, 0], [0, 0, 250], [9, 9, 9]]
    grey = saved(tmp_path / "b.png", half_transparent("LA"))
    assert read_image(grey)[4, 3].tolist() == [68, 68, 68]
    assert not read_image(grey)[4, 8].any()
    animated = saved(tmp_path / "c.gif", half_transparent(), save_all=True, append_images=[half_transparent()])
    assert not read_image(animated)[4, 8].any()


def test_an_opaque_alpha_channel_changes_nothing(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    plain = saved(tmp_path / "a.png", Image.fromarray(noise))
    opaque = saved(tmp_path / "b.png", Image.fromarray(noise).convert("RGBA"))
    assert np.array_equal(read_image(plain), read_image(opaque))
    scalings = [Scaling(16, "squash"), Scaling(8, "crop")]
    assert all(map(np.array_equal, read_scaled(plain, scalings), read_scaled(opaque, scalings)))
    assert notes(plain, opaque) == []


def test_a_transparent_image_is_rotated_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    path = saved(tmp_path / "a.png", half_transparent(), exif=exif)
    image = read_image(path)
    assert image.shape == (12, 8, 3)
    assert image[2, 2].tolist() == [200, 10, 20]
    assert not image[6:].any()


# Formats and pages


@pytest.mark.parametrize(
    ("mode", "name"),
    [("RGB", "a.gif"), ("P", "a.gif"), ("P", "a.png"), ("1", "a.png"), ("CMYK", "a.tiff"), ("P", "a.tiff"),
     ("L", "a.tiff"), ("RGB", "a.tiff"), ("1", "a.tiff"), ("RGB", "a.jp2"), ("RGB", "a.ppm"), ("RGB", "a.tga")],
)  # fmt: skip
def test_other_formats_and_modes_are_read_as_pillow_reads_them(tmp_path, mode, name):
    drawn = np.zeros((16, 16, 3), np.uint8)
    drawn[:8] = (255, 255, 255)
    path = saved(tmp_path / name, Image.fromarray(drawn).convert(mode))
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGB")).astype(int)
    assert np.abs(read_image(path).astype(int) - expected).max() <= 3
    assert read_catalogue([path]).readable.all()


def pages(path, *arrays):
    assert cv2.imwritemulti(str(path), list(arrays))
    return path


def test_the_first_page_of_several_is_used_and_said(tmp_path):
    path = pages(tmp_path / "a.tiff", *(np.full((8, 8), value, np.uint8) for value in (10, 20, 30)))
    assert np.unique(read_image(path)).tolist() == [10]
    assert notes(path) == ["1 images have several pages, of which the first is used"]


def test_three_pages_may_be_the_channels(tmp_path):
    by_page = Reading(pages="channels")
    path = pages(tmp_path / "a.tiff", *(np.full((8, 8), value, np.uint8) for value in (10, 20, 30)))
    assert read_image(path, by_page)[0, 0].tolist() == [10, 20, 30]
    assert notes(path, reading=by_page) == ["1 images have several pages, one for each channel"]
    path = pages(tmp_path / "b.tiff", *[np.zeros((8, 8), np.uint8)] * 2)
    assert "it has 2 pages; expected 3 grey ones of one size" in why_unreadable(path, by_page)


def test_pages_are_counted_before_they_are_decoded(tmp_path, monkeypatch):
    path = pages(tmp_path / "a.tiff", *[np.zeros((8, 8), np.uint8)] * 20)
    monkeypatch.setattr(cv2, "imdecodemulti", None)
    assert "it has 20 pages; expected 3 grey ones of one size" in why_unreadable(path, Reading(pages="channels"))
    monkeypatch.setattr(image_headers, "MOST_CONVERTED", 150)
    path = pages(tmp_path / "b.tiff", *[np.zeros((8, 8), np.uint8)] * 3)
    assert "it has 8 × 8 pixels, more than 50" in why_unreadable(path, Reading(pages="channels"))
    read_image(path)
    monkeypatch.setattr(tiff, "_MAX_PAGES", 2)
    assert why_unreadable(path) == "it has more than 2 pages"


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.gif", "a.jp2", "b.png", "c.png"])
def test_images_that_are_converted_have_fewer_pixels(tmp_path, monkeypatch, name):
    path = tmp_path / name
    depth, channels = np.uint16 if name == "b.png" else np.uint8, 4 if name == "c.png" else 3
    pixels = np.zeros((10, 10, channels), depth)
    if name in ("a.gif", "a.jp2"):
        Image.fromarray(pixels).save(path)
    else:
        assert cv2.imwrite(str(path), pixels)
    read_image(path)
    monkeypatch.setattr(image_headers, "MOST_CONVERTED", 99)
    if name == "a.png":  # bytes without transparency are not converted
        read_image(path)
    else:
        assert "it has 10 × 10 pixels, more than 99; the limit rises with" in why_unreadable(path)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_chunk_of_gigabytes_is_not_read(tmp_path, depth):
    path = write(tmp_path / "a.png", ramp(depth, 255))
    content = bytearray(path.read_bytes())
    at = content.index(b"IDAT") - 4
    content[at : at + 4] = (2_000_000_000).to_bytes(4)
    path.write_bytes(content)
    assert why_unreadable(path) == "it is damaged (a chunk of 2,000,000,000 bytes)"


def test_values_are_scaled_in_parts_as_they_are_at_once(monkeypatch):
    values = np.arange(30 * 20 * 3, dtype=np.uint16).reshape(30, 20, 3)
    at_once = to_bytes(values, Intensity(rule="auto"))
    monkeypatch.setattr(intensity, "_BLOCK", 70)
    assert np.array_equal(to_bytes(values, Intensity(rule="auto")), at_once)


def test_four_channels_without_transparency_need_four_channels(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[338] = 0  # the fourth channel is anything
    path = saved(tmp_path / "a.tiff", Image.fromarray(np.dstack([ramp(np.uint8, 255)] * 4), "RGBX"), tiffinfo=tags)
    reason = "it has 4 channels, of which none is transparency; expected 1 or 3, or set channels: 4"
    assert why_unreadable(path) == reason
    assert np.array_equal(read_image(path, Reading(channels=4)), np.dstack([ramp(np.uint8, 255)] * 4))


def test_a_tiff_whose_white_is_zero_is_inverted(tmp_path):
    path = write(tmp_path / "a.tiff", ramp(np.uint16, 60_000))
    usual, content = read_image(path), path.read_bytes()
    photometric = (262).to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little")
    assert content.count(photometric + b"\1") == 1
    path.write_bytes(content.replace(photometric + b"\1", photometric + b"\0"))
    assert np.array_equal(read_image(path), 255 - usual)


# What cannot be read says why


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"<html><body>Not   found</body></html>", "it is text: <html><body>Not found</body></html>"),
        (bytes(3000), "it begins with zeros"),
        (b"\x01\x02\xff\xfe" * 100, "its format is unknown"),
        (b"II*\0\x08\0\0\0\xff", "it is not a complete TIFF ("),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", "it is not a complete array ("),
        (b"\xff\xd8\xff\xe0 no end", "its end is missing"),
        (b"\x89PNG\r\n\x1a\n no end", "its end is missing"),
    ],
)
def test_an_unreadable_file_says_why(tmp_path, content, reason):
    path = tmp_path / "odd.jpg"
    path.write_bytes(content)
    assert why_unreadable(path).startswith(reason)
    assert read_catalogue([path]).readable.tolist() == [False]
    if "end" not in reason:
        with pytest.raises(DataError, match=r"odd\.jpg is not a readable image: .*; replace it, or set on_bad_image"):
            read_image(path)


def test_a_missing_file_says_why(tmp_path):
    assert why_unreadable(tmp_path / "a.png") == "the file cannot be opened"


# Ordinary images are decoded as before


def test_only_ordinary_images_are_plain(tmp_path):
    rgb = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    for name in ("a.jpg", "a.png", "a.bmp", "a.webp"):
        assert is_plain(np.fromfile(saved(tmp_path / name, rgb), np.uint8)), name
    for mode in ("L", "P", "1"):
        assert is_plain(np.fromfile(saved(tmp_path / "b.png", rgb.convert(mode)), np.uint8)), mode
    for name in ("c.png", "c.webp", "c.tiff", "c.gif"):
        assert not is_plain(np.fromfile(saved(tmp_path / name, half_transparent()), np.uint8)), name
    assert not is_plain(np.fromfile(saved(tmp_path / "d.webp", half_transparent(), lossless=True), np.uint8))
    assert not is_plain(np.fromfile(write(tmp_path / "e.png", ramp()), np.uint8))
    assert not is_plain(np.zeros(0, np.uint8))


# DICOM


def test_without_pydicom_a_dicom_file_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + bytes(100))
    assert why_unreadable(tmp_path / "a.dcm") == (
        "it is a DICOM file, which needs pydicom: pip install 'podium-kit[dicom]'"
    )


def dicom(path, values, **elements):
    """A file with some elements of an X-ray image."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    values = np.asarray(values)
    bits = 8 * values.dtype.itemsize
    content = {
        "Rows": values.shape[-2], "Columns": values.shape[-1], "SamplesPerPixel": 1, "BitsAllocated": bits,
        "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": int(values.dtype.kind == "i"),
        "PhotometricInterpretation": "MONOCHROME2", "PixelData": values.tobytes(),
    } | elements  # fmt: skip
    for name, value in content.items():
        setattr(dataset, name, value)
    dataset["PixelData"].VR = "OW"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())
    return path


def test_the_window_of_a_dicom_file_is_used(tmp_path):
    values = ramp(np.int16, 4000)
    path = dicom(
        tmp_path / "a.dcm", values, WindowCenter=1000.5, WindowWidth=1001, RescaleSlope=1, RescaleIntercept=-1000
    )
    image = read_image(path)[..., 0]  # black up to 500 - 1000, white from 1500 - 1000
    assert np.array_equal(image, np.rint(np.clip((values - 1000.0 - 500) / 1000, 0, 1) * 255))
    assert levels(path, Reading(Intensity(percentile=[0, 100]))) > 240
    assert notes(path)[0].startswith("1 images have more than 8 bits")


def test_a_dicom_file_without_a_window_is_scaled_by_percentiles(tmp_path):
    path = dicom(tmp_path / "a.dcm", ramp(np.uint16, 4000))
    assert levels(path) > 240
    assert "it has no window" in why_unreadable(path, Reading(Intensity(rule="window")))


def test_an_inverted_dicom_file_is_shown_with_white_bones(tmp_path):
    values = ramp(np.uint16, 255)
    usual = dicom(tmp_path / "a.dcm", values)
    inverted = dicom(tmp_path / "b.dcm", values, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(read_image(inverted), 255 - read_image(usual))


def test_a_deflated_dicom_file_is_an_error_before_it_is_decompressed(tmp_path, monkeypatch):
    pydicom = pytest.importorskip("pydicom")
    path = dicom(tmp_path / "a.dcm", ramp(np.uint16, 255))
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    monkeypatch.setattr(pydicom, "dcmread", None)
    assert why_unreadable(path) == "it is a deflated DICOM file; save it with another transfer syntax"


def test_a_dicom_file_has_the_limits_of_other_images(tmp_path, monkeypatch):
    values = np.stack([np.arange(100, dtype=np.uint16).reshape(10, 10)] * 3)
    path = dicom(tmp_path / "a.dcm", values, NumberOfFrames=3)
    monkeypatch.setattr(image_headers, "MOST_CONVERTED", 100)
    assert read_image(path).shape == (10, 10, 3)
    assert "it has 10 × 10 pixels, more than 33" in why_unreadable(path, Reading(pages="channels"))
    many = dicom(tmp_path / "b.dcm", values, NumberOfFrames=2_000_000_000)
    assert "it has 2000000000 pages; expected 3" in why_unreadable(many, Reading(pages="channels"))
    wide = dicom(tmp_path / "c.dcm", values, Columns=65_535, Rows=65_535)
    assert "it has 65,535 × 65,535 pixels, more than 100" in why_unreadable(wide)


def test_a_window_that_is_no_number_is_an_error(tmp_path):
    path = dicom(tmp_path / "a.dcm", ramp(np.uint16, 255), WindowCenter=1234.5, WindowWidth=400)
    content = path.read_bytes()
    assert content.count(b"1234.5") == 1
    path.write_bytes(content.replace(b"1234.5", b"abcdef"))
    assert "it is a DICOM file that pydicom cannot read" in why_unreadable(path)


def test_the_first_frame_of_a_dicom_file_is_used(tmp_path):
    frames = np.stack([ramp(np.uint16, 255), ramp(np.uint16, 255).T, ramp(np.uint16, 255)])
    path = dicom(tmp_path / "a.dcm", frames, NumberOfFrames=3)
    assert np.array_equal(read_image(path, FULL), read_image(dicom(tmp_path / "b.dcm", frames[0]), FULL))
    assert "1 images have several pages, of which the first is used" in notes(path)
