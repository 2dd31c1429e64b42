"""Images that lie on their side, by EXIF or by Open Images' table; and their boxes."""

import struct

import cv2
import numpy as np
import pytest

from podium.data.images import read_image
from podium.data.jpeg import Stored
from podium.detection.orientation import WAY_OF_DEGREES, stored_as, turned, turned_boxes, write_turned
from podium.errors import DataError

WIDTH, HEIGHT = 40, 24
BOX = (4, 6, 20, 11)
"""Of the white rectangle in the image as it is stored."""


def drawn():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    left, top, right, bottom = BOX
    image[top:bottom, left:right] = 255
    return image


def jpeg(way=None, order=">", before=b""):
    """The drawn image as a JPEG whose EXIF tag says this way of turning."""
    content = cv2.imencode(".jpg", drawn(), [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    if way is None:
        return content
    mark = b"MM\0*" if order == ">" else b"II*\0"
    entries = struct.pack(f"{order}HHIHH", 0x0100, 3, 1, 9, 0) + struct.pack(f"{order}HHIHH", 0x0112, 3, 1, way, 0)
    exif = b"Exif\0\0" + mark + struct.pack(f"{order}IH", 8, 2) + entries + struct.pack(f"{order}I", 0)
    return content[:2] + before + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]


def box_of(image):
    """Of what is white in it."""
    rows, columns = np.nonzero(image[..., 0] > 128)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("way", range(1, 9))
@pytest.mark.parametrize("order", [">", "<"])
def test_the_tag_is_understood_as_podiums_reader_does(tmp_path, way, order):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(way, order))
    assert stored_as(path) == Stored(WIDTH, HEIGHT, way)
    shown = read_image(path)
    assert box_of(turned(drawn(), way)) == box_of(shown)
    assert turned(drawn(), way).shape == shown.shape


@pytest.mark.parametrize("way", range(1, 9))
def test_a_box_turns_with_its_image(way):
    shares = np.array([BOX]) / [WIDTH, HEIGHT, WIDTH, HEIGHT]
    image = turned(drawn(), way)
    height, width = image.shape[:2]
    pixels = turned_boxes(shares, way) * [width, height, width, height]
    assert pixels[0].round(9).tolist() == [float(side) for side in box_of(image)]


@pytest.mark.parametrize(("degrees", "corner"), [(0, (0, 0)), (90, (-1, 0)), (180, (-1, -1)), (270, (0, -1))])
def test_degrees_are_counterclockwise(degrees, corner):
    image = np.zeros((3, 5, 3), np.uint8)
    image[0, 0] = 255
    assert turned(image, WAY_OF_DEGREES[degrees])[corner].tolist() == [255, 255, 255]
    assert np.array_equal(turned(image, WAY_OF_DEGREES[degrees]), np.rot90(image, degrees // 90))


def test_a_turned_image_is_written_without_loss_and_lies_no_more(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(6))
    write_turned(path, 8, tmp_path / "turned" / "a.png")
    stored = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), cv2.COLOR_BGR2RGB)
    assert np.array_equal(read_image(tmp_path / "turned" / "a.png"), np.rot90(stored, 1))
    assert stored_as(tmp_path / "turned" / "a.png") == Stored(HEIGHT, WIDTH, 1)


@pytest.mark.parametrize("way", [0, 9, 300])
def test_a_tag_that_means_nothing_is_none(tmp_path, way):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(way))
    assert stored_as(path) == Stored(WIDTH, HEIGHT, 1)


def test_a_header_longer_than_usual_is_read_to_its_end(tmp_path):
    filler = b"\xff\xe2" + struct.pack(">H", 65_000) + bytes(64_998)
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(3, before=filler * 3))
    assert stored_as(path) == Stored(WIDTH, HEIGHT, 3)


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe1\xff\xffExif\0\0MM"])
def test_what_is_no_image_is_told(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not an image that can be read"):
        stored_as(path)
