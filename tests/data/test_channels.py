"""Images of other than three channels, from their files to a model's batches."""

import cv2
import numpy as np
import pytest
from PIL import Image

from podium.config.member import TestTimeViews as Views
from podium.config.reading import Intensity, Reading
from podium.data.augmentation import Augmentation, TrainingView, transform_problems
from podium.data.batches import PredictionBatches
from podium.data.catalogue import ImageSource, read_catalogue
from podium.data.image_cache import Cache, ImageReader
from podium.data.image_paths import ImagePaths
from podium.data.images import Scaling, cut_square, read_image, read_scaled, why_unreadable
from podium.data.table import read_rows
from podium.data.unlabelled import find_test_set, find_unlabelled
from podium.errors import DataError
from podium.inference.tta import make_views

ONE, FOUR, SIX = (Reading(channels=count) for count in (1, 4, 6))
COLOURS = Reading(channels=4, files=("red", "green", "blue", "yellow"))


def noise(channels, height=30, width=40):
    return np.random.default_rng(channels).integers(0, 256, (height, width, channels), dtype=np.uint8)


def npy(path, array):
    np.save(path, array)
    return path


def pages(path, pixels):
    first, *others = [Image.fromarray(pixels[..., channel]) for channel in range(pixels.shape[2])]
    first.save(path, save_all=True, append_images=others)
    return path


def by_channel(folder, name, pixels, reading=COLOURS):
    """A PNG for each channel; the path of the first."""
    paths = [folder / f"{name}_{channel}.png" for channel in reading.files]
    for number, path in enumerate(paths):
        assert cv2.imwrite(str(path), pixels[..., number])
    return paths[0]


# Files


@pytest.mark.parametrize("count", [1, 2, 4, 7, 16])
def test_arrays_and_pages_have_any_number_of_channels(count, tmp_path):
    pixels, reading = noise(count), Reading(channels=count)
    assert np.array_equal(read_image(npy(tmp_path / "last.npy", pixels), reading), pixels)
    first = np.moveaxis(pixels, 2, 0)
    assert np.array_equal(read_image(npy(tmp_path / "first.npy", first), reading), pixels)
    if count > 1:
        by_page = Reading(channels=count, pages="channels")
        assert np.array_equal(read_image(pages(tmp_path / "a.tiff", pixels), by_page), pixels)


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_transparency_is_the_fourth_channel(name, tmp_path):
    pixels = noise(4)
    Image.fromarray(pixels, "RGBA").save(tmp_path / name)
    assert np.array_equal(read_image(tmp_path / name, FOUR), pixels)


def test_four_channels_of_sixteen_bits_are_scaled(tmp_path):
    pixels = noise(4).astype(np.uint16) * 257
    assert cv2.imwrite(str(tmp_path / "a.tiff"), pixels)  # OpenCV writes them as BGRA
    full = Reading(Intensity(rule="full"), channels=4)
    assert np.array_equal(read_image(tmp_path / "a.tiff", full), noise(4)[..., [2, 1, 0, 3]])


def test_one_channel_is_grey(tmp_path):
    grey = noise(1)
    assert cv2.imwrite(str(tmp_path / "grey.png"), grey)
    assert cv2.imwrite(str(tmp_path / "colour.png"), np.dstack([grey] * 3))
    for name in ("grey.png", "colour.png"):
        assert np.array_equal(read_image(tmp_path / name, ONE), grey)
        assert read_scaled(tmp_path / name, [Scaling(16, "squash"), Scaling(20, "pad")], ONE)[0].shape == (16, 16, 1)


def test_another_number_of_channels_says_what_was_expected(tmp_path):
    assert cv2.imwrite(str(tmp_path / "a.png"), noise(3))
    assert why_unreadable(tmp_path / "a.png", FOUR) == "it has 3 channels; expected 4"
    by_page = pages(tmp_path / "a.tiff", noise(4))
    assert why_unreadable(by_page, FOUR) == "it has 1 channel; expected 4: set pages: channels"
    assert why_unreadable(npy(tmp_path / "a.npy", noise(5)), FOUR) == (
        "it has the shape (30, 40, 5); expected (height, width), with 4 channels if any"
    )


# A file for each channel


def test_files_of_the_channels_are_one_image(tmp_path):
    pixels = noise(4)
    path = by_channel(tmp_path, "redwood", pixels)  # only the end of the name is that of the channel
    assert np.array_equal(read_image(path, COLOURS), pixels)
    paths = ImagePaths.of([path]).read_as(COLOURS)
    before = read_catalogue(paths)
    by_channel(tmp_path, "redwood", noise(4) // 2 * [[1, 1, 1, 0]])
    assert read_catalogue(paths).digest != before.digest
    assert cv2.imwrite(str(tmp_path / "redwood_blue.png"), noise(1, 8, 8))
    assert not read_catalogue(paths).readable.any()
    assert why_unreadable(path, COLOURS) == (
        "its channels have different sizes: 40 × 30, 40 × 30, 8 × 8, 40 × 30 pixels"
    )
    (tmp_path / "redwood_blue.png").unlink()
    assert not read_catalogue(paths).readable.any()


@pytest.fixture
def by_colour(tiny_competition):
    """The tiny competition with a file for each channel, beside each other."""
    tiny = tiny_competition
    for folder in ("train", "test_upload"):
        for path in sorted((tiny.folder / folder).rglob("*.jpg")):
            by_channel(tiny.folder / folder, path.stem, noise(4))
            path.unlink()
    for name in ("train.csv", "sample-submission.csv"):
        (tiny.folder / name).write_text((tiny.folder / name).read_text().replace(".jpg", ""))
    return tiny.change(
        channels=list(COLOURS.files),
        train={"table": "train.csv", "images": "train/{id}_{channel}"},
        test={"images": "test_upload/{id}_{channel}.png"},
    )


def test_channels_of_a_competition_may_be_files(by_colour):
    tiny = by_colour
    rows = read_rows(tiny.competition, tiny.folder)
    assert rows.paths_of(rows.train)[0] == tiny.folder / "train" / "0000_red.png"
    assert rows.paths.reading == COLOURS
    assert [note for note in rows.notes if "in no table" in note] == []
    test = find_test_set(tiny.competition, tiny.folder)
    assert [path.name for path in test.paths] == [f"{id_.removesuffix('.jpg')}_red.png" for id_ in tiny.answers]
    (tiny.folder / "train" / "0003_blue.png").unlink()
    (tiny.folder / "train" / "9999_red.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 images listed in .* do not exist in .*: train/0003_blue.png \(line 5\)"):
        read_rows(tiny.competition, tiny.folder)
    with pytest.raises(DataError, match="channels of an image are files of their own: give a CSV file"):
        find_unlabelled(tiny.folder / "train", tiny.competition)


# From files to batches


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_channels_are_scaled_and_cut_alike(count):
    pixels = noise(count, 70, 90)
    for scaling in (Scaling(32, "squash"), Scaling(62, "crop"), Scaling(120, "pad")):
        scaled = scaling.scale(pixels)
        cut = cut_square(scaled, 64, scaling.resize)
        for channel in range(count):
            alone = scaling.scale(pixels[..., [channel]])
            assert np.abs(scaled[..., [channel]].astype(int) - alone).max() <= 1  # OpenCV rounds a little differently
            assert np.array_equal(cut[..., [channel]], cut_square(scaled[..., [channel]], 64, scaling.resize))


def test_every_view_keeps_the_channels():
    for channels in (1, 4, 6):
        pixels = noise(channels, 90, 90)
        for view in make_views(Views.model_validate("auto")):
            prepared = view.prepare(64, "squash", seed=0)
            assert prepared(prepared.scaling.scale(pixels), row=0).shape == (64, 64, channels)


def test_cached_images_have_the_channels(tmp_path):
    paths = [npy(tmp_path / f"{number}.npy", noise(6) // (number + 1)) for number in range(3)]
    source = ImageSource(ImagePaths.of(paths).read_as(SIX), Cache("cells", 1.0))
    scaling = Scaling(20, "squash")
    source.cache_images([scaling])
    location = source.location(2, [scaling])
    assert location.cached[0] is not None
    expected = read_scaled(paths[2], [scaling], SIX)[0]
    assert np.array_equal(ImageReader()(location, [scaling])[0], expected)
    view = TrainingView(20, "squash", Augmentation(["HorizontalFlip", "RandomBrightnessContrast"], 20), (1,))
    (images,) = PredictionBatches(source, [view], 8)[0]
    assert (images.shape, images.dtype) == ((3, 20, 20, 6), np.uint8)


def test_transforms_are_tested_with_the_channels():
    member = {"augmentation": ["HorizontalFlip", "ToGray", {"Rotate": {"limit": 5}}], "stages": [{"image_size": 32}]}
    assert transform_problems(member, 3) == []
    ((key, message),) = transform_problems(member, 4)
    assert key == "augmentation.1"
    assert message == (
        "the augmentation failed for an image of 32×32×4 pixels (TypeError: ToGray transformation expects 3-channel"
        " images.); use transforms that work on an image alone"
    )
