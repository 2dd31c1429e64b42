"""Cropping the images of a competition, with known boxes and with a detector."""

import csv
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from podium.config.loading import load_competition, load_member
from podium.data.folds import make_folds
from podium.data.images import read_image
from podium.data.table import read_rows
from podium.data.unlabelled import find_test_set
from podium.detection.detections import detections_table

COMPETITION = "configs/competition.yaml"


@pytest.fixture
def tiny(make_tiny_competition, tmp_path):
    """The coloured squares, and boxes.csv with the box of each but the last image; podium runs in this folder."""
    return with_boxes(make_tiny_competition(tmp_path))


def with_boxes(made):
    rows = pd.read_csv(made.folder / "train.csv", dtype=str)
    files = [f"train/{label}/{name}" for name, label in zip(rows["Id"], rows["Category"], strict=True)]
    files += [f"test_upload/{name}" for name in made.answers]
    with (made.folder.parent / "boxes.csv").open("w") as table:
        table.write("id,class,score,left,top,right,bottom\n")
        for file in files[:-1]:
            table.write(f"{file},Square,0.9,{','.join(map(str, square_in(made.folder / file)))}\n")
    return made


def square_in(path):
    """The noise is grey, the square is not."""
    image = read_image(path).astype(int)
    rows, columns = np.nonzero(image.max(axis=2) - image.min(axis=2) > 100)
    return int(np.median(columns)) - 9, int(np.median(rows)) - 9, int(np.median(columns)) + 9, int(np.median(rows)) + 9


@pytest.fixture
def crop(tmp_path, podium_in):
    """`crop("--how", "blur")`: with the known boxes, from data to cut."""

    def run(*more, boxes="boxes.csv", out="cut", competition=COMPETITION):
        named = ["--boxes", boxes] if boxes else []
        return podium_in(tmp_path, "detect", "crop", competition, *named, "--data", "data", "--out", out, *more)

    return run


def crops_of(folder):
    with (folder / "crops.csv").open() as table:
        return list(csv.DictReader(table))


def names_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_images_are_cropped_to_their_boxes(tiny, crop, tmp_path):
    ended = crop("--margin", 0)
    assert ended.code == 0, ended.err
    assert "32 images, 31 cropped to a Square" in ended.out
    assert "unchanged, no box with score >= 0.3: 1" in ended.out
    assert ended.out.splitlines()[-1] == (
        "train on it with: podium train MEMBER.yaml --set competition=cut/competition.yaml --data cut"
    )
    rows = crops_of(tmp_path / "cut")
    assert [row["result"] for row in rows] == ["found"] * 31 + ["not_found"]
    assert rows[0] | {"left": "", "top": "", "right": "", "bottom": ""} == {
        "id": "0000.jpg", "file": "train/0/0000.jpg", "result": "found", "class": "Square", "score": "0.9",
        "left": "", "top": "", "right": "", "bottom": "",
    }  # fmt: skip
    assert rows[-1]["right"] == "40"
    for row in rows[:-1]:
        cut = read_image(tmp_path / "cut" / row["file"])
        left, top, right, bottom = (int(row[corner]) for corner in ("left", "top", "right", "bottom"))
        assert cut.shape == (18, 18, 3)
        whole = read_image(tmp_path / "data" / row["file"])
        assert np.abs(cut.astype(int) - whole[top:bottom, left:right]).mean() < 6
    assert read_image(tmp_path / "cut" / rows[-1]["file"]).shape == (40, 40, 3)


def test_new_competition_has_the_same_rows_and_folds(tiny, crop, tmp_path):
    assert crop().code == 0
    before, after = load_competition(tiny.config), load_competition(tmp_path / "cut" / "competition.yaml")
    assert after.slug == "tiny-squares-cropped"
    assert after.zips == []
    kept = {"slug", "title", "zips"}
    assert after.model_dump(exclude=kept) == before.model_dump(exclude=kept)
    one, other = read_rows(before, tiny.folder), read_rows(after, tmp_path / "cut")
    assert one.digest == other.digest
    paths = [make_folds(*pair, tmp_path / "runs").path for pair in ((before, one), (after, other))]
    assert paths[0] != paths[1]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_own_metric_goes_with_the_new_competition(tiny, crop, tmp_path):
    metric = "HIGHER_IS_BETTER = True\n\ndef score(truth, predictions):\n    return 1.0\n"
    (tiny.config.parent / "mine.py").write_text(metric)
    tiny.change(metric="mine.py:score")
    for _ in range(2):
        ended = crop()
        assert ended.code == 0, ended.err
        assert load_competition(tmp_path / "cut" / "competition.yaml").metric_code == metric


def test_edited_folds_are_copied(tiny, crop, tmp_path):
    before = load_competition(tiny.config)
    folds = make_folds(before, read_rows(before, tiny.folder), tmp_path / "runs").path
    changed = folds.read_text().replace(",0\n", ",7\n")
    folds.write_text(changed)
    assert "copied the edited folds" in crop().out
    after = load_competition(tmp_path / "cut" / "competition.yaml")
    made = make_folds(after, read_rows(after, tmp_path / "cut"), tmp_path / "runs")
    assert made.path.read_text() == changed
    assert made.numbers == [1, 7]


@pytest.mark.parametrize("where", ["cut/competition.yaml", "../cut/competition.yaml"])
def test_member_finds_the_new_competition_by_either_path(tiny, crop, tmp_path, monkeypatch, where):
    assert crop().code == 0
    monkeypatch.chdir(tmp_path)
    assert load_member(tiny.member(), [f"competition={where}"]).competition.slug == "tiny-squares-cropped"


def test_printed_train_command_works(tiny, crop, tmp_path, podium_in):
    message = crop("--size", 16).out.splitlines()[-1].removeprefix("train on it with: podium ").split()
    message[message.index("MEMBER.yaml")] = str(tiny.member())
    ended = podium_in(tmp_path, *message, "--dry-run")
    assert ended.code == 0, ended.err
    assert "tiny-squares, cropped: 24 images to train on, 8 to predict" in ended.out


def test_folder_is_written_again_only_if_something_has_changed(tiny, crop, tmp_path):
    crop()
    first = (tmp_path / "cut" / "crops.json").read_bytes(), (tmp_path / "cut" / "train").stat().st_ino
    assert "nothing has changed" in crop().out
    assert ((tmp_path / "cut" / "crops.json").read_bytes(), (tmp_path / "cut" / "train").stat().st_ino) == first
    assert "nothing has changed" not in crop("--margin", 0.3).out
    (tmp_path / "data" / "train" / "0" / "0000.jpg").write_bytes(
        (tmp_path / "data" / "train" / "0" / "0004.jpg").read_bytes()
    )
    assert "nothing has changed" not in crop("--margin", 0.3).out
    (tmp_path / "boxes.csv").write_text((tmp_path / "boxes.csv").read_text().replace("0.9", "0.8"))
    assert "nothing has changed" not in crop("--margin", 0.3).out
    (tmp_path / "cut" / "train" / "0" / "0000.jpg").unlink()
    assert "nothing has changed" not in crop("--margin", 0.3).out
    assert "nothing has changed" in crop("--margin", 0.3).out
    (tmp_path / "cut" / "competition.yaml").unlink()
    assert "nothing has changed" in crop("--margin", 0.3).out
    assert (tmp_path / "cut" / "competition.yaml").is_file()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".cropping", ".before"))]


@pytest.mark.parametrize(
    ("how", "slug"),
    [("blur", "tiny-squares-blurred"), ("grey", "tiny-squares-greyed"), ("black", "tiny-squares-blacked")],
)
def test_only_the_background_is_changed(tiny, crop, tmp_path, how, slug):
    assert crop("--how", how, "--config", "configs/other.yaml").code == 0
    assert load_competition(tmp_path / "configs" / "other.yaml").slug == slug
    assert not (tmp_path / "cut" / "competition.yaml").exists()
    row = crops_of(tmp_path / "cut")[0]
    made = read_image(tmp_path / "cut" / row["file"])
    assert made.shape == (40, 40, 3)
    corner = made[-4:, -4:] if int(row["right"]) < 30 or int(row["bottom"]) < 30 else made[:4, :4]
    if how != "blur":
        assert abs(int(corner.mean()) - {"grey": 128, "black": 0}[how]) < 3


def test_table_may_name_images_by_the_end_of_their_path(tiny, crop, tmp_path):
    table = pd.read_csv(tmp_path / "boxes.csv")
    table["id"] = [name.split("/")[-1].removesuffix(".jpg") for name in table["id"]]
    table.loc[0, "id"] = "0/0000.jpg"
    table.loc[1, "id"] = "0001.jpg"
    table.loc[len(table)] = ["stranger", "Square", 0.5, 0, 0, 4, 4]
    table.to_csv(tmp_path / "ends.csv", index=False)
    ended = crop(boxes="ends.csv")
    assert "31 cropped to a Square" in ended.out
    assert "ends.csv: 1 images are not in this competition" in ended.out


def test_extra_sources_and_class_folders_are_included(make_tiny_competition, tmp_path, crop):
    tiny = make_tiny_competition(tmp_path)
    table = with_boxes(tiny)
    outside = tmp_path / "elsewhere"
    for label in "0123":
        (outside / label).mkdir(parents=True)
        shutil.copy(tiny.folder / "train" / label / f"000{label}.jpg", outside / label / "more.jpg")
    shutil.copytree(tiny.folder / "train", tiny.folder / "again" / "train")
    shutil.copy(tiny.folder / "train.csv", tiny.folder / "again" / "rows.csv")
    table.change(
        train={"images": "train/{label}/{id}.jpg"},
        extra=[
            {"folder": str(outside), "images": "{label}/{id}"},
            {"folder": "again", "table": "rows.csv", "images": "train/{label}/{id}"},
        ],
    )
    (tmp_path / "boxes.csv").write_text(
        (tmp_path / "boxes.csv").read_text() + "extra-1/3/more.jpg,Square,0.9,0,0,9,9\n"
    )
    ended = crop("--margin", 0)
    assert ended.code == 0, ended.err
    after = load_competition(tmp_path / "cut" / "competition.yaml")
    assert [source.folder for source in after.extra] == ["extra-1", "again"]
    rows = read_rows(after, tmp_path / "cut")
    assert (len(rows.train), len(rows.extra)) == (24, 28)
    assert len(find_test_set(after, tmp_path / "cut").ids) == 8
    assert read_rows(load_competition(tiny.config), tiny.folder).digest == rows.digest
    assert read_image(tmp_path / "cut" / "extra-1" / "3" / "more.jpg").shape == (9, 9, 3)


def test_images_from_zips_are_cropped(make_tiny_competition, tmp_path, crop):
    shown = with_boxes(make_tiny_competition(tmp_path / "shown"))
    make_tiny_competition(tmp_path / "zipped", zipped=True)
    for name in ("data", "configs"):
        shutil.move(tmp_path / "zipped" / name, tmp_path / name)
    shutil.copy(shown.folder.parent / "boxes.csv", tmp_path / "boxes.csv")
    ended = crop()
    assert ended.code == 0, ended.err
    assert len(crops_of(tmp_path / "cut")) == 32


def test_unreadable_image_is_an_error_or_copied(tiny, crop, tmp_path):
    (tiny.folder / "train" / "0" / "0000.jpg").write_bytes(b"no image")
    ended = crop()
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "1 images cannot be read" in ended.err
    assert not (tmp_path / "cut").exists()
    tiny.change(on_bad_image="skip")
    ended = crop()
    assert "copied, cannot be read: 1" in ended.out
    assert (tmp_path / "cut" / "train" / "0" / "0000.jpg").read_bytes() == b"no image"


def test_rotated_image_is_cropped_upright(tiny, crop, tmp_path):
    """EXIF says: turn it by a quarter. So the 60 × 20 pixels of the file are an image of 20 × 60."""
    lying = np.full((20, 60, 3), 90, np.uint8)
    lying[:, :20] = (30, 30, 230)  # BGR: red at the left comes to the top
    _, content = cv2.imencode(".jpg", lying)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    jpeg = content.tobytes()
    (tiny.folder / "train" / "0" / "0000.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    lines = (tmp_path / "boxes.csv").read_text().splitlines()
    lines[1] = "train/0/0000.jpg,Square,0.9,0,0,20,20"
    (tmp_path / "boxes.csv").write_text("\n".join(lines) + "\n")
    assert crop("--margin", 0).code == 0
    cut = read_image(tmp_path / "cut" / "train" / "0" / "0000.jpg")
    assert cut.shape == (20, 20, 3)
    assert cut[..., 0].mean() > 200 > 100 > cut[..., 2].mean()


@pytest.mark.parametrize(
    ("boxes", "more", "message"),
    [
        (None, ["--class", "Sqare"], "boxes.csv has no class 'Sqare'; did you mean 'Square'?"),
        ("a.jpg,Square,1,0,0,9,9\n", [], "boxes.csv has boxes of other images, such as 'a.jpg'"),
        ("0000.jpg,Square,1,0,0,90,9\n", [], "train/0/0000.jpg has 40 × 40 pixels"),
        (
            "0000.jpg,Square,1,0,0,9,9\n0001,Ring,1,0,0,9,9\n",
            [],
            "choose one with --class; expected one of Ring, Sq",
        ),
        ("", [], "boxes.csv has no boxes"),
        ("0000.jpg,Square,2,0,0,9,9\n", [], "boxes.csv, line 2: score: expected a score from 0 to 1, got 2.0"),
    ],
)
def test_invalid_boxes_are_one_line(tiny, crop, tmp_path, boxes, more, message):
    if boxes is not None:
        (tmp_path / "boxes.csv").write_text("id,class,score,left,top,right,bottom\n" + boxes)
    before = names_in(tmp_path)
    ended = crop(*more)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert message in ended.err
    assert {name for name in names_in(tmp_path) - before if not name.endswith(".lock")} == set()


def test_only_own_files_are_replaced(tiny, crop, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("mine")
    assert "was not written by podium detect crop" in crop(out="mine").err
    assert "contains the original images" in crop(out="data").err
    assert crop().code == 0
    (tmp_path / "cut" / "note.txt").write_text("mine")
    assert "cut contains note.txt, which podium detect crop has not written" in crop("--margin", 0.2).err
    (tmp_path / "cut" / "note.txt").unlink()
    (tmp_path / "mine.yaml").write_text("slug: mine\n")
    assert "mine.yaml exists and was not written by podium detect crop" in crop("--config", "mine.yaml").err
    assert (tmp_path / "mine.yaml").read_text() == "slug: mine\n"


def test_failed_command_keeps_the_previous_folder(tiny, crop, tmp_path, monkeypatch):
    assert crop().code == 0
    before = {name: (tmp_path / "cut" / name).read_bytes() for name in names_in(tmp_path / "cut")}

    def full(*_):
        raise OSError(28, "No space left on device", "0000.jpg")

    monkeypatch.setattr("podium.detection.cropping.encode_image", full)
    assert "No space left on device" in crop("--margin", 0.3).err
    assert {name: (tmp_path / "cut" / name).read_bytes() for name in names_in(tmp_path / "cut")} == before
    assert not list(tmp_path.glob(".cropping*"))


@pytest.mark.parametrize(
    "more",
    [[], ["--detector", "d.yaml", "--boxes", "b.csv"], ["--boxes", "b.csv", "--threshold", "1.5"],
     ["--boxes", "b.csv", "--margin", "-1"], ["--boxes", "b.csv", "--how", "cut"],
     ["--boxes", "b.csv", "--set", "seed=1"]],
)  # fmt: skip
def test_wrong_usage_exits_with_2(tiny, crop, more):
    assert crop(*more, boxes=None).code == 2


# With a detector


@pytest.fixture
def with_detector(trained_detector, tmp_path):
    """A copy of the trained detector, and a competition of its images."""
    folder = tmp_path / "detector"
    shutil.copytree(trained_detector[0], folder)
    names = sorted(path.name for path in (folder / "data").glob("*.png"))
    rows = [f"{name},{'Red' if number % 2 == 0 else 'Blue'}" for number, name in enumerate(names[:12])]
    (folder / "data" / "train.csv").write_text("\n".join(["Id,Category", *rows, ""]))
    test_rows = [f"{name},Red" for name in names[12:]]
    (folder / "data" / "sample-submission.csv").write_text("\n".join(["Id,Category", *test_rows, ""]))
    content = {
        "slug": "red-or-blue",
        "train": {"table": "train.csv", "images": "{id}"},
        "test": {"images": "{id}"},
        "classes": ["Red", "Blue"],
        "metric": "accuracy",
        "folds": {"kind": "stratified", "count": 2},
    }
    (folder / "competition.yaml").write_text(yaml.safe_dump(content))
    return folder


def crop_with(folder, podium_in, *more):
    common = ["--data", "data", "--out", "cut", "--threshold", "0.0", "--class", "Red"]
    return podium_in(folder, "detect", "crop", "competition.yaml", "--detector", "squares.yaml", *common, *more)


class FakeDetector:
    """Detects the right half of each image, and fails in the call of this number."""

    def __init__(self, fails_at=None):
        self.calls, self.fails_at = 0, fails_at

    def detect(self, images, cache, console):
        self.calls += 1
        if self.calls == self.fails_at:
            raise OSError(5, "Input/output error")
        return detections_table(
            (image_id, "Red", 0.9, width / 2, 0, width, height)
            for image_id, (height, width) in zip(images.ids, images.shapes, strict=True)
        )


def test_detections_of_a_trained_detector_are_cached(with_detector, podium_in):
    ended = crop_with(with_detector, podium_in)
    assert ended.code == 0, ended.err
    assert "squares: detecting objects in 18 images" in ended.out
    assert "nothing has changed" in crop_with(with_detector, podium_in).out
    again = crop_with(with_detector, podium_in, "--margin", "0.4")
    assert again.code == 0
    assert "detecting" not in again.out
    assert "nothing has changed" not in again.out


def test_interrupted_detection_resumes(with_detector, podium_in, monkeypatch):
    fake = FakeDetector(fails_at=3)
    monkeypatch.setattr("podium.detection.box_sources.IMAGES_AT_A_TIME", 5)
    monkeypatch.setattr("podium.detection.detector_run.TrainedDetector.load", lambda self: fake)
    assert "Input/output error" in crop_with(with_detector, podium_in, "--margin", "0.2").err
    ended = crop_with(with_detector, podium_in, "--margin", "0.2")
    assert ended.code == 0, ended.err
    assert "detecting objects in 8 images (10 are cached)" in ended.out


def test_wide_image_is_cropped_with_its_shape(with_detector, podium_in, monkeypatch):
    monkeypatch.setattr("podium.detection.detector_run.TrainedDetector.load", lambda self: FakeDetector())
    image = with_detector / "data" / "000.png"
    cv2.imwrite(str(image), cv2.resize(cv2.imread(str(image)), (128, 32)))
    ended = crop_with(with_detector, podium_in, "--margin", "0", "--no-square")
    assert ended.code == 0, ended.err
    row = crops_of(with_detector / "cut")[0]
    assert [row[corner] for corner in ("left", "top", "right", "bottom")] == ["64", "0", "128", "32"]
    assert (read_image(with_detector / "cut" / "000.png") == read_image(image)[:, 64:]).all()


def test_untrained_detector_or_unknown_class_is_one_line(with_detector, podium_in):
    for more, message in (
        (["--class", "Rot"], "squares has no class 'Rot'"),
        (["--set", "seed=5"], "run podium detect train"),
    ):
        ended = crop_with(with_detector, podium_in, *more)
        assert (ended.code, ended.err.count("\n")) == (1, 1)
        assert message in ended.err
