"""The demo competition: its layout, its reproducibility, and that it is neither trivial nor overwritten."""

import csv
import hashlib
import json

import cv2
import numpy as np
import pytest

from podium.demo.competition import CLASSES, draw_competition
from podium.demo.scene import draw_car
from podium.errors import DataError


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return draw_competition(tmp_path_factory.mktemp("drawn") / "cars", train=60, test=30, seed=7)


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_row_has_its_image_and_every_image_its_row(sample):
    train, test = _rows(sample.folder / "train.csv"), _rows(sample.folder / "sample-submission.csv")
    assert (sample.train, sample.test) == (len(train), len(test)) == (60, 30)
    assert all(list(row) == ["Id", "Category"] for row in train + test)
    listed = {f"train/{row['Category']}/{row['Id']}" for row in train} | {f"test_upload/{row['Id']}" for row in test}
    assert len({row["Id"] for row in train + test}) == 90
    assert {name for name in _contents(sample.folder) if name.endswith(".jpg")} == listed
    for name in listed:
        height, width = cv2.imread(str(sample.folder / name)).shape[:2]
        assert 96 <= height <= 120
        assert 128 <= width <= 160


def test_every_class_has_a_name_and_training_images(sample):
    named = {row["Category"]: row["Name"] for row in _rows(sample.folder / "classes.csv")}
    assert named == {str(number): name for number, name in enumerate(sample.classes)}
    assert sample.classes == CLASSES == ("Sedan", "Hatchback", "Wagon", "SUV", "Pickup", "Van", "Coupe", "Minibus")
    assert {row["Category"] for row in _rows(sample.folder / "train.csv")} == set(named)


def test_the_hidden_answers_are_those_of_the_test_rows(sample):
    answers, asked = _rows(sample.folder / "hidden-answers.csv"), _rows(sample.folder / "sample-submission.csv")
    assert [row["Id"] for row in answers] == [row["Id"] for row in asked]
    assert {row["Category"] for row in asked} == {"0"}
    assert len({row["Category"] for row in answers}) > 4
    assert all((sample.folder / "test_upload" / row["Id"]).is_file() for row in answers)


def test_every_car_has_one_box_inside_its_image(sample):
    assert (sample.folder / "class-descriptions-boxable.csv").read_text() == "/m/0k4j,Car\n"
    boxes = _rows(sample.folder / "annotations-bbox.csv")
    rows = _rows(sample.folder / "train.csv") + _rows(sample.folder / "hidden-answers.csv")
    assert [f"{box['ImageID']}.jpg" for box in boxes] == [row["Id"] for row in rows]
    assert {box["LabelName"] for box in boxes} == {"/m/0k4j"}
    assert {box["IsOccluded"] for box in boxes} == {"0", "1"}
    for box in boxes:
        left, right, top, bottom = (float(box[name]) for name in ("XMin", "XMax", "YMin", "YMax"))
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
        assert 0.6 < right - left < 1
        assert 0.2 < bottom - top < 0.95


def test_the_box_contains_the_car():
    """Windows, wheels and doors have more edges than sky and road."""
    for kind in range(len(CLASSES)):
        drawing = draw_car(kind, np.random.default_rng(kind))
        height, width = drawing.image.shape[:2]
        left, right, top, bottom = drawing.box
        inside = np.zeros((height, width), bool)
        inside[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
        edges = cv2.Canny(cv2.GaussianBlur(drawing.image, (3, 3), 0), 120, 240) > 0
        assert edges[inside].mean() > 1.5 * edges[~inside].mean()


def test_the_seed_determines_every_byte(sample, tmp_path):
    again = draw_competition(tmp_path / "again", train=60, test=30, seed=7)
    assert _contents(again.folder) == _contents(sample.folder)
    other = draw_competition(tmp_path / "other", train=60, test=30, seed=8)
    assert not set(_contents(other.folder).values()) & {
        content for name, content in _contents(sample.folder).items() if name.endswith(".jpg")
    }


def test_portraits_never_change():
    """If a digest changes, increase the version of the drawing."""
    # Of eight types, these four are the same with and without a CPU's vector instructions.
    digests = {0: "b56a166b6184", 1: "0ca818282bc6", 2: "c7f29250b4e2", 5: "9e56dc8a9a69"}
    for kind, digest in digests.items():
        drawing = draw_car(kind, np.random.default_rng(kind))
        assert hashlib.sha256(drawing.image.tobytes()).hexdigest()[:12] == digest
    assert drawing.box == pytest.approx((0.064444, 0.935556, 0.238506, 0.798851), abs=1e-6)


def test_the_stamp_leaves_out_default_options(sample):
    stamp = json.loads((sample.folder / "sample.json").read_text())
    assert stamp == {"drawing": 1, "seed": 7, "train": 60, "test": 30}


def test_the_size_can_be_set_and_is_in_the_stamp(tmp_path):
    folder = draw_competition(tmp_path / "cars", train=20, test=10, size=(320, 240)).folder
    assert {cv2.imread(str(path)).shape for path in folder.rglob("*.jpg")} == {(240, 320, 3)}
    assert json.loads((folder / "sample.json").read_text())["size"] == "320x240"
    with pytest.raises(DataError, match=r"another sample \(drawing \d+, seed 42, train 20, test 10, size 320x240\)"):
        draw_competition(folder, train=20, test=10)


def test_no_temporary_files_are_left(sample):
    assert list(sample.folder.parent.iterdir()) == [sample.folder]


def test_an_empty_folder_is_filled(tmp_path):
    assert draw_competition(tmp_path, train=20, test=10).folder == tmp_path
    assert (tmp_path / "train.csv").is_file()


@pytest.mark.parametrize("name", ["notes.txt", "sample.json"])
def test_a_folder_with_other_files_is_an_error_and_unchanged(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(DataError, match="expected a new or empty folder"):
        draw_competition(tmp_path, train=20, test=10)
    assert _contents(tmp_path) == {name: b"mine"}


def test_another_sample_is_an_error(sample):
    before = _contents(sample.folder)
    with pytest.raises(DataError, match=r"another sample \(drawing \d+, seed 7, train 60, test 30\)"):
        draw_competition(sample.folder, train=60, test=30, seed=9)
    assert _contents(sample.folder) == before


def test_the_same_sample_is_not_drawn_again(sample):
    written = {path: path.stat().st_mtime_ns for path in sample.folder.rglob("*")}
    assert draw_competition(sample.folder, train=60, test=30, seed=7) == sample
    assert {path: path.stat().st_mtime_ns for path in sample.folder.rglob("*")} == written


def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda *_, **__: 1 / 0)  # the last file written
    with pytest.raises(ZeroDivisionError):
        draw_competition(tmp_path / "cars", train=20, test=10)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_with_the_folder(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left") as raised:
        draw_competition(tmp_path / "cars", train=20, test=10)
    assert raised.value.filename == str(tmp_path / "cars")


@pytest.mark.slow
def test_a_linear_model_on_pixels_does_not_solve_it(tmp_path):
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folder = draw_competition(tmp_path / "cars", train=800, test=300).folder

    def pixels(rows, path_of):
        images = [cv2.imread(str(path_of(row)), cv2.IMREAD_GRAYSCALE) for row in rows]
        small = [cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA) for image in images]
        return np.stack(small).reshape(len(rows), -1), [row["Category"] for row in rows]

    train = pixels(_rows(folder / "train.csv"), lambda row: folder / "train" / row["Category"] / row["Id"])
    test = pixels(_rows(folder / "hidden-answers.csv"), lambda row: folder / "test_upload" / row["Id"])
    accuracy = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1000)).fit(*train).score(*test)
    assert 1.5 / len(CLASSES) < accuracy < 0.70
