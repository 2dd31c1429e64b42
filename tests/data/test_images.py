import cv2
import numpy as np
import pytest
from PIL import Image

from podium.config.reading import Intensity, Reading
from podium.data.catalogue import unreadable
from podium.data.images import Scaling, check_complete, cut_square, read_image, zoomed_scaling
from podium.errors import ImageError

RED, BLUE, GREEN, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255), (0, 0, 0)


def fit_image(image, size, resize, zoom=1.0, at=(0.5, 0.5)):
    return cut_square(zoomed_scaling(size, resize, zoom).scale(image), size, resize, at)


def plain(height, width, colour):
    return np.full((height, width, 3), colour, np.uint8)


def side_by_side(*colours, height=40, width=40):
    return np.concatenate([plain(height, width, colour) for colour in colours], axis=1)


def quarters(side=40):
    """Red, blue; green, white."""
    return np.concatenate([side_by_side(*pair, height=side, width=side) for pair in ((RED, BLUE), (GREEN, WHITE))])


def share_of(image, colour):
    return float((np.abs(image.astype(int) - colour).max(axis=2) < 30).mean())


def near(pixel, colour, within=6):
    return bool((np.abs(np.asarray(pixel, int) - colour) <= within).all())


def test_squash_keeps_both_halves_of_a_wide_image():
    fitted = fit_image(side_by_side(RED, BLUE), 32, "squash")
    assert fitted.shape == (32, 32, 3)
    assert fitted.dtype == np.uint8
    assert (fitted[:, :15] == RED).all()
    assert (fitted[:, 17:] == BLUE).all()


def test_crop_cuts_the_sides_and_keeps_the_aspect():
    fitted = fit_image(side_by_side(RED, GREEN, GREEN, BLUE), 32, "crop")
    assert share_of(fitted, GREEN) == 1.0
    circle = cv2.circle(plain(60, 120, BLACK), (60, 30), 20, WHITE, thickness=-1)
    seen = fit_image(circle, 30, "crop")[..., 0] > 128
    assert abs(int(seen.any(axis=0).sum()) - int(seen.any(axis=1).sum())) <= 1


def test_pad_shows_the_complete_image_between_black_bars():
    fitted = fit_image(side_by_side(RED, BLUE, height=40), 32, "pad")
    assert (fitted[:8] == BLACK).all()
    assert (fitted[24:] == BLACK).all()
    assert near(fitted[16, 4], RED)
    assert near(fitted[16, 28], BLUE)


def test_a_tall_image_is_padded_at_its_sides():
    fitted = fit_image(plain(80, 20, RED), 32, "pad")
    assert (fitted[:, :12] == BLACK).all()
    assert (fitted[:, 12:20] == RED).all()
    assert (fitted[:, 20:] == BLACK).all()


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize(
    ("at", "colour"), [((0.0, 0.0), RED), ((1.0, 0.0), BLUE), ((0.0, 1.0), GREEN), ((1.0, 1.0), WHITE)]
)
def test_a_zoom_of_two_at_a_corner_shows_that_quarter(resize, at, colour):
    assert share_of(fit_image(quarters(), 32, resize, zoom=2.0, at=at), colour) > 0.95


def test_a_zoom_shows_the_centre():
    image = plain(80, 80, RED)
    image[20:60, 20:60] = BLUE
    assert share_of(fit_image(image, 40, "squash", zoom=2.0), BLUE) > 0.9
    assert share_of(fit_image(image, 40, "squash", zoom=1.0), BLUE) == pytest.approx(0.25, abs=0.05)


def test_a_zoom_below_one_shows_the_image_smaller_with_its_edges_mirrored():
    image = plain(80, 80, RED)
    image[20:60, 20:60] = BLUE
    fitted = fit_image(image, 80, "squash", zoom=0.5)
    assert near(fitted[40, 40], BLUE)
    assert near(fitted[22, 22], RED)  # its corner
    assert near(fitted[4, 4], BLUE)  # its middle again, mirrored at the edge
    assert share_of(fitted, BLACK) == 0.0


@pytest.mark.parametrize("size", [236, 222, 210, 150, 80, 30])
def test_the_interpolation_is_as_accurate_as_any_fast_one(size):
    """Held against a Lanczos filter of full support, which takes ten times as long."""
    noise = np.random.default_rng(0).normal(128, 300, (240, 240, 3))
    image = np.clip(cv2.GaussianBlur(noise, (0, 0), 0.8), 0, 255).astype(np.uint8)
    ideal = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS)).astype(float)

    def error(shrunk):
        return float(np.sqrt(np.mean((shrunk - ideal) ** 2)))

    others = [cv2.resize(image, (size, size), interpolation=way) for way in (cv2.INTER_AREA, cv2.INTER_LINEAR)]
    assert error(Scaling(size, "squash").scale(image)) <= 1.02 * min(map(error, others))


def test_a_padded_image_with_a_zoom_below_one_stays_on_black():
    fitted = fit_image(plain(40, 80, RED), 80, "pad", zoom=0.5)
    assert share_of(fitted, RED) == pytest.approx(20 * 40 / 80**2, abs=0.01)
    assert share_of(fitted, BLACK) == pytest.approx(1 - 20 * 40 / 80**2, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1), (3, 200)])
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("zoom", [0.4, 1.0, 2.5])
def test_an_image_of_any_shape_becomes_a_square(shape, resize, zoom):
    fitted = fit_image(plain(*shape, RED), 32, resize, zoom, at=(1.0, 0.0))
    assert fitted.shape == (32, 32, 3)
    if resize != "pad":
        assert share_of(fitted, RED) == 1.0


def as_mode(mode, colour=(200, 10, 20)):
    return Image.fromarray(plain(9, 7, colour)).convert(mode)


@pytest.mark.parametrize(
    ("mode", "name", "expected"),
    [
        ("RGB", "a.png", (200, 10, 20)),
        ("RGB", "a.jpg", (200, 10, 20)),
        ("RGB", "a.bmp", (200, 10, 20)),
        ("RGB", "a.webp", (200, 10, 20)),
        ("CMYK", "a.jpg", (200, 10, 20)),
        ("RGBA", "a.png", (200, 10, 20)),
        ("L", "a.png", (68, 68, 68)),  # 0.299 · 200 + 0.587 · 10 + 0.114 · 20
        ("L", "a.jpg", (68, 68, 68)),
        ("LA", "a.png", (68, 68, 68)),
    ],
)
def test_every_format_is_read_as_rgb_bytes(tmp_path, mode, name, expected):
    as_mode(mode).save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    image = read_image(tmp_path / name)
    assert image.shape == (9, 7, 3)
    assert image.dtype == np.uint8
    assert near(image[4, 3], expected)
    assert unreadable([tmp_path / name]) == []


def test_sixteen_bits_are_converted_to_eight(tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((9, 7, 3), (20 * 257, 10 * 257, 200 * 257), np.uint16))
    image = read_image(tmp_path / "deep.png", Reading(Intensity(rule="full")))
    assert near(image[0, 0], (200, 10, 20), within=1)


def test_a_file_name_may_be_non_ascii(tmp_path):
    as_mode("RGB").save(tmp_path / "Škoda №1.png")
    assert near(read_image(tmp_path / "Škoda №1.png")[0, 0], (200, 10, 20))


@pytest.mark.parametrize(
    ("orientation", "top_left", "bottom_right"),
    [(1, RED, BLUE), (2, BLUE, RED), (3, BLUE, RED), (6, RED, BLUE), (8, BLUE, RED)],
)
def test_the_exif_orientation_is_applied(tmp_path, orientation, top_left, bottom_right):
    opened = Image.fromarray(side_by_side(RED, BLUE, height=16, width=16))
    exif = opened.getexif()
    exif[0x0112] = orientation
    opened.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "turned.jpg")
    assert image.shape == ((32, 16, 3) if orientation in (6, 8) else (16, 32, 3))
    assert near(image[2, 2], top_left)
    assert near(image[-3, -3], bottom_right)


def test_a_cut_off_photograph_is_incomplete_although_its_thumbnail_ends(tmp_path):
    """The header of most cameras' images has a complete small image."""
    whole, small = (cv2.imencode(".jpg", quarters(side))[1].tobytes() for side in (200, 8))
    thumbnail = b"\xff\xe1" + (len(small) + 2).to_bytes(2) + small
    photograph = whole[:2] + thumbnail + whole[2:]
    check_complete("", photograph)
    check_complete("", photograph + b"a video \xff\xda after it")
    with pytest.raises(ImageError, match="its end is missing"):
        check_complete("", photograph[:-500])
