import cv2
import numpy as np
import pytest
from PIL import Image
from random_boxsets import png_header

from podium.data.images import read_image
from podium.detection.sizes import upright_size, upright_sizes
from podium.errors import DataError


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_a_image_that_lies_on_its_side_is_measured_upright(kind, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0131], exif[0x0112] = "a test", orientation  # who made it, then how it lies
    path = tmp_path / f"a.{kind}"
    Image.new("RGB", (60, 40)).save(path, exif=exif)
    assert upright_size(path) == ((60, 40) if orientation < 5 else (40, 60))
    assert upright_size(path) == read_image(path).shape[1::-1]


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tiff"])
def test_every_kind_of_image_is_measured(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), np.zeros((40, 60, 3), np.uint8))
    assert upright_size(path) == (60, 40)


def test_a_progressive_jpeg_with_much_before_its_size_is_measured(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("L", (60, 40)).save(path, progressive=True, comment=b"x" * 60_000, icc_profile=b"\xff" * 70_000)
    assert upright_size(path) == (60, 40)


def test_the_header_is_enough(tmp_path):
    (tmp_path / "a.png").write_bytes(png_header(1234, 567))
    path = tmp_path / "b.jpg"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-100])
    assert upright_sizes([tmp_path / "a.png", path]) == [(1234, 567), (60, 40)]


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", png_header(0, 5)])
def test_what_is_no_image_is_told(content, tmp_path):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"a.jpg is not a readable image"):
        upright_size(tmp_path / "a.jpg")


def test_a_image_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match=r"a.jpg cannot be read: No such file or directory; put the image back"):
        upright_size(tmp_path / "a.jpg")
