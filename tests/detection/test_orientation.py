"""Size and orientation of image files, from EXIF tags or from Open Images' table, and rotated boxes."""

import cv2
import numpy as np
import pytest
from PIL import Image
from random_datasets import png_header

from podium.data.images import read_image
from podium.detection.orientation import (
    ORIENTATION_OF_ROTATION,
    StoredImage,
    read_header,
    rotated_boxes,
    upright_size,
    upright_sizes,
    write_rotated,
)
from podium.errors import DataError

WIDTH, HEIGHT = 40, 24
BOX = (4, 6, 20, 11)
"""Of the white rectangle in the stored pixels."""


def write_image(path, orientation=None, **options):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    left, top, right, bottom = BOX
    image[top:bottom, left:right] = 255
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0131], exif[0x0112] = "a test", orientation
    Image.fromarray(image).save(path, exif=exif, quality=100, **options)
    return path


def box_of(image):
    rows, columns = np.nonzero(image[..., 0] > 128)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_upright_size_is_that_of_the_decoded_image(suffix, orientation, tmp_path):
    path = write_image(tmp_path / f"a.{suffix}", orientation)
    assert read_header(path) == StoredImage(WIDTH, HEIGHT, orientation)
    assert upright_size(path) == ((WIDTH, HEIGHT) if orientation < 5 else (HEIGHT, WIDTH))
    assert upright_size(path) == read_image(path).shape[1::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_and_boxes_are_rotated_alike(orientation, tmp_path):
    path = write_image(tmp_path / "a.jpg", orientation)
    write_rotated(path, orientation, tmp_path / "rotated" / "a.png")
    image = read_image(tmp_path / "rotated" / "a.png")
    assert box_of(image) == box_of(read_image(path))
    height, width = image.shape[:2]
    shares = np.array([BOX]) / [WIDTH, HEIGHT, WIDTH, HEIGHT]
    boxes = rotated_boxes(shares, orientation) * [width, height, width, height]
    assert boxes[0].round(9).tolist() == box_of(image)
    assert read_header(tmp_path / "rotated" / "a.png") == StoredImage(width, height)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotations_of_open_images_are_counterclockwise(degrees, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    write_rotated(tmp_path / "a.png", ORIENTATION_OF_ROTATION[degrees], tmp_path / "b.png")
    assert np.array_equal(read_image(tmp_path / "b.png"), np.rot90(pixels, degrees // 90))


@pytest.mark.parametrize("suffix", ["bmp", "tiff"])
def test_other_formats_are_measured(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), np.zeros((40, 60, 3), np.uint8))
    assert upright_size(path) == (60, 40)


def test_size_comes_from_the_header_even_if_it_is_long_or_the_pixels_are_missing(tmp_path):
    options = {"progressive": True, "comment": b"x" * 60_000, "icc_profile": b"\xff" * 70_000}
    long_header = write_image(tmp_path / "a.jpg", **options)
    truncated = write_image(tmp_path / "b.jpg")
    truncated.write_bytes(truncated.read_bytes()[:-100])
    (tmp_path / "c.png").write_bytes(png_header(1234, 567))
    paths = [long_header, truncated, tmp_path / "c.png"]
    assert upright_sizes(paths) == [(WIDTH, HEIGHT), (WIDTH, HEIGHT), (1234, 567)]


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_invalid_tag_is_ignored(tmp_path, orientation):
    assert read_header(write_image(tmp_path / "a.jpg", orientation)) == StoredImage(WIDTH, HEIGHT, 1)


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe1\xff\xffExif\0\0MM", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_image_is_reported(content, tmp_path):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"a.jpg is not a readable image"):
        upright_size(tmp_path / "a.jpg")


def test_missing_image_is_reported(tmp_path):
    with pytest.raises(DataError, match=r"a.jpg cannot be read: No such file or directory"):
        upright_size(tmp_path / "a.jpg")
