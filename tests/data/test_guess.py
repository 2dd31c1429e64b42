"""What `podium init` finds out from a data folder."""

import re
import zipfile

import pandas as pd
import pytest
from layouts import OPTIONS, draw

from podium.data.guess import Hints, guess_competition
from podium.data.inventory import read_inventory
from podium.errors import DataError

COLOURS = ["blue", "green", "red"]
EXPECTED = {
    "text-label": {
        "train": {"table": "train.csv", "id": "image_id", "label": "colour", "images": "train_images/{id}.jpg"},
        "test": {"images": "test_images/{id}.jpg"},
        "target": "single_label",
        "classes": COLOURS,
        "metric": "accuracy",
        "submission": {"sample": "sample_submission.csv", "id": "image_id", "label": "colour", "format": "label"},
        "folds": {"kind": "stratified", "count": 5},
    },
    "class-folders": {
        "train": {"images": "train/{label}/{id}"},
        "test": {"images": "test/{id}"},
        "target": "single_label",
        "classes": COLOURS,
        "metric": "accuracy",
        "submission": {"sample": "sample_submission.csv", "id": "file", "label": "colour", "format": "label"},
    },
    "one-hot": {
        "train": {"table": "train.csv", "id": "image_id", "images": "images/{id}.jpg"},
        "test": {"images": "images/{id}.jpg"},
        "target": "multi_label",
        "classes": ["red", "green", "blue"],
        "metric": "roc_auc",
    },
    "separated-labels": {
        "train": {"table": "train.csv", "id": "image", "label": "labels", "images": "train/{id}"},
        "target": {"kind": "multi_label", "separator": "space"},
        "classes": COLOURS,
        "metric": "macro_f1",
    },
    "regression": {
        "train": {"table": "train.csv", "id": "Id", "label": "size", "images": "train/{id}.jpg"},
        "target": "regression",
        "metric": "rmse",
    },
    "binary": {
        "train": {"table": "train.csv", "id": "isic_id", "label": "target", "images": "train/{id}.jpg"},
        "target": "binary",
        "classes": ["0", "1"],
        "metric": "own_metric.py:score",
        "submission": {
            "sample": "sample_submission.csv", "id": "isic_id", "label": "target", "format": "probabilities",
        },
    },
    "patients": {
        "train": {
            "table": "train.csv", "id": "id", "label": "grade", "group": "patient_id",
            "images": "train/{patient_id}/{id}.png",
        },
        "test": {"images": "test/**/{id}.png", "table": "test.csv"},
        "target": "ordinal",
        "classes": ["0", "1", "2", "3"],
        "metadata": {"age": "number", "sex": ["f", "m"]},
        "metric": "quadratic_kappa",
        "folds": {"kind": "grouped", "count": 5},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_the_layout_and_the_target_are_guessed(name, tmp_path):
    metric = dict(zip(*[iter(OPTIONS.get(name, []))] * 2, strict=True)).get("--metric")
    guess = guess_competition(read_inventory(draw(name, tmp_path / name)), Hints(metric=metric))
    found = {key: value for key, value in guess.keys.items() if key in EXPECTED[name]}
    assert found == EXPECTED[name]


def folder_with(tmp_path, images, **tables):
    for image in images:
        (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / image).touch()
    for name, table in tables.items():
        pd.DataFrame(table).to_csv(tmp_path / f"{name}.csv", index=False)
    return read_inventory(tmp_path)


def guessed(tmp_path, images, hints=None, **tables):
    return guess_competition(folder_with(tmp_path, images, **tables), hints or Hints()).keys


IMAGES = [f"{part}/{number}.jpg" for part in ("train", "test") for number in range(20)]


def test_names_of_two_words_are_not_two_labels(tmp_path):
    label = ["Ford Focus", "Ford Fiesta", "Opel Astra", "Niva"] * 5
    keys = guessed(
        tmp_path, IMAGES, train={"id": range(20), "car": label}, sample_submission={"id": range(20), "car": label}
    )
    assert keys["target"] == "single_label"
    assert keys["classes"] == ["Ford Fiesta", "Ford Focus", "Niva", "Opel Astra"]


def test_a_probability_column_for_each_label(tmp_path):
    train = {"file": [f"{number}.jpg" for number in range(20)], "class": [0, 1, 2, 3] * 5, "driver": ["p1", "p2"] * 10}
    sample = {"file": [f"{number}.jpg" for number in range(20)], **{f"c{number}": 0.25 for number in range(4)}}
    keys = guessed(tmp_path, IMAGES, train=train, sample_submission=sample)
    assert keys["target"] == "single_label"
    assert keys["metric"] == "log_loss"
    assert keys["submission"]["columns"] == {str(number): f"c{number}" for number in range(4)}


def test_a_probability_column_for_each_grade(tmp_path):
    train = {"file": [f"{number}.jpg" for number in range(20)], "grade": [0, 1, 2, 3] * 5}
    sample = {"file": train["file"], **{f"grade_{number}": 0.25 for number in range(4)}}
    tables = {"train": train, "sample_submission": sample}
    assert guessed(tmp_path, IMAGES, Hints(target="ordinal"), **tables)["target"] == "ordinal"
    with pytest.raises(DataError, match=r"a probability for each of 4 classes, .* not regression"):
        guessed(tmp_path, IMAGES, Hints(target="regression"), **tables)
    with pytest.raises(DataError, match="no column garde of answers: expected one of grade as --label"):
        guessed(tmp_path, IMAGES, Hints(label="garde"), **tables)


def test_votes_and_several_numbers(tmp_path):
    votes = {"galaxy": range(20), "smooth": [0.6] * 20, "disk": [0.4] * 20}
    assert guessed(tmp_path / "a", IMAGES, train=votes, sample_submission=votes)["target"] == "soft_label"
    numbers = {"plant": range(20), "height": range(20), "leaf_area": [0.5, 7.25] * 10}
    target = guessed(tmp_path / "b", IMAGES, train=numbers, sample_submission=numbers)["target"]
    assert target == {"kind": "regression", "columns": ["height", "leaf_area"]}


def test_a_sample_with_any_name(tmp_path):
    images = [
        f"{part}/{number}.jpg" for part, first in (("train", 0), ("test", 20)) for number in range(first, first + 20)
    ]
    train = {"galaxy": range(20), "smooth": [0.6] * 20, "disk": [0.4] * 20}
    ones = {"galaxy": range(20, 40), "smooth": [1] * 20, "disk": [1] * 20}
    keys = guessed(tmp_path, images, train=train, all_ones=ones)
    assert keys["submission"]["sample"] == "all_ones.csv"
    assert keys["target"] == "soft_label"
    other = guess_competition(read_inventory(tmp_path), Hints(sample="all_ones.csv"))
    assert other.keys == keys
    with pytest.raises(DataError, match=r"no ones\.csv in .* whose CSV files are all_ones\.csv, train\.csv"):
        guess_competition(read_inventory(tmp_path), Hints(sample="ones.csv"))
    for table in tmp_path.glob("*.csv"):
        table.unlink()
    (tmp_path / "all.zip").write_bytes(b"PK\5\6" + bytes(18))
    with pytest.raises(DataError, match=r"in .* which has no CSV files; unpack all\.zip, or name the one"):
        guess_competition(read_inventory(tmp_path), Hints())


def test_images_in_linked_folders(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/1.jpg").touch()
    data = tmp_path / "data"
    data.mkdir()
    (data / "train").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/again").symlink_to(data)
    assert read_inventory(data).images == ["train/1.jpg"]


@pytest.mark.parametrize(("at", "value"), [(8, b"\0\x08"), (6, b"\x63")], ids=["no UTF-8", "newer version"])
def test_a_zip_that_cannot_be_listed_is_an_error(tmp_path, at, value):
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr("a.jpg", b"red")
    content = bytearray((tmp_path / "train.zip").read_bytes().replace(b"a.jpg", b"\xff.jpg"))
    entry = content.index(b"PK\x01\x02")
    content[entry + at : entry + at + len(value)] = value
    (tmp_path / "train.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"train.zip cannot be unpacked"):
        read_inventory(tmp_path)


def test_columns_that_the_table_of_the_test_images_has_too_are_metadata(tmp_path):
    shared = {
        "id": range(20), "age": [30, "", "NA", 45] * 5, "site": ["a", "b", "c", "d"] * 5,
        "note": [f"note {row}" for row in range(20)], "machine": ["x"] * 20, "file_path": range(20),
    }  # fmt: skip
    sample = {"id": range(20), "label": [0] * 20}
    tables = {"train": {**shared, "label": [0, 1] * 10, "outcome": [1, 2] * 10}, "sample_submission": sample}
    keys = guessed(tmp_path, IMAGES, Hints(label="label"), **tables, test_info={**shared, "id": range(20)})
    assert keys["metadata"] == {"age": "number", "site": ["a", "b", "c", "d"]}
    assert keys["test"]["table"] == "test_info.csv"


def test_images_in_zips(tmp_path):
    for part in ("train", "test"):
        with zipfile.ZipFile(tmp_path / f"{part}.zip", "w") as archive:
            for number in range(20):
                archive.writestr(f"{part}/{number}.jpg", "")
    table = {"Id": range(20), "label": ["cat", "dog"] * 10}
    keys = guessed(tmp_path, [], train=table, sampleSubmission=table)
    assert keys["zips"] == ["test.zip", "train.zip"]
    assert keys["train"]["images"] == "train/{id}.jpg"
    assert keys["submission"]["sample"] == "sampleSubmission.csv"


@pytest.mark.parametrize(
    ("images", "tables", "message"),
    [
        (IMAGES, {"train": {"id": [1], "label": [2]}}, "no sample .* CSV files are train.csv; .*--sample"),
        ([], {"sample_submission": {"id": [1], "label": [2]}}, "no images"),
        (IMAGES, {"sample_submission": {"id": ["x"], "label": ["cat"]}}, "no column of sample_submission.csv names"),
        (["test/1.jpg"], {"sample_submission": {"id": [1], "label": [2]}}, "neither a table of training images nor"),
        (
            IMAGES,
            {"sample_submission": {"label": [0, 0, 0, 0], "id": [1, 2, 3, 2]}},
            r"sample_submission\.csv has duplicate ids: 2 \(line 5\); expected one row per image",
        ),
        (
            ["test/1.jpg"],
            {"train": {"id": [8, 9], "label": [2, 3]}, "sample_submission": {"id": [1], "label": [2]}},
            r"lacks the images to train on: no column of train\.csv names its images, such as test/1\.jpg; download",
        ),
        (
            IMAGES,
            {"train": {"id": [], "label": []}, "sample_submission": {"id": [1], "label": [2]}},
            r"no rows in .*train\.csv, only a header; download it again",
        ),
        (
            IMAGES,
            {"train": {"id": [1, 2], "a": [2, 3], "b": [1, 1]}, "sample_submission": {"id": [1], "c": [2]}},
            "--label",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_guessed_is_said(tmp_path, images, tables, message):
    with pytest.raises(DataError, match=message):
        guessed(tmp_path, images, **tables)


NUMBERS = [str(number / 8) for number in range(20)]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["red", "green", "blue", "red"] * 4 + ["", "red", " ", "blue"], r"empty \(line 18\), empty \(line 20\);"),
        (["0", "1"] * 9 + ["", "1"], r"has rows without a label in column label: empty \(line 20\);"),
        ([*NUMBERS[:19], ""], r"empty \(line 21\); add it or remove these rows"),
        (["NA", *NUMBERS[1:]], r"train\.csv has rows without a label in column label: NA \(line 2\);"),
        (["red", "green"] * 9 + ["red ", "green"], r"only by spaces around them, .*: 'red ' \(line 20\); remove"),
    ],
    ids=["words", "0 and 1", "numbers", "NA among numbers", "a space"],
)
def test_labels_that_are_empty_or_padded_are_named(tmp_path, labels, message):
    tables = {"train": {"id": range(20), "label": labels}, "sample_submission": {"id": range(20), "label": labels[1]}}
    with pytest.raises(DataError, match=message):
        guessed(tmp_path, IMAGES, **tables)


def test_an_empty_label_is_named_where_each_class_has_a_column_of_the_sample(tmp_path):
    train = {"id": range(20), "label": ["cat", "dog"] * 9 + ["", "dog "], "camera": ["a", "b"] * 10}
    sample = {"id": range(20), "cat": 0.5, "dog": 0.5}
    with pytest.raises(DataError, match=r"has rows without a label in column label: empty \(line 20\)"):
        guessed(tmp_path, IMAGES, train=train, sample_submission=sample)
    train = {"id": range(20), "cat": ["1", "0"] * 9 + ["", "1"], "dog": 1}
    with pytest.raises(DataError, match="column cat has values that are not numbers, such as '' in line 20;"):
        guessed(tmp_path, IMAGES, train=train, sample_submission=sample)


def test_images_without_a_label_and_a_class_called_na_are_allowed(tmp_path):
    several = {"id": range(20), "label": ["red", "", "red blue", "blue"] * 5}
    keys = guessed(tmp_path / "a", IMAGES, train=several, sample_submission=several)
    assert (keys["target"]["kind"], keys["classes"]) == ("multi_label", ["blue", "red"])
    named = {"id": range(20), "label": ["NA", "EU"] * 10}
    assert guessed(tmp_path / "b", IMAGES, train=named, sample_submission=named)["classes"] == ["EU", "NA"]


@pytest.mark.parametrize("name", ["train.csv", "sample_submission.csv", "ids.csv"])
@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_with_other_separators_is_named(tmp_path, name, mark):
    rows = "".join(f"{number},{'ab'[number % 2]}\n" for number in range(20))
    inventory = folder_with(tmp_path, IMAGES)
    for table in ("train.csv", name if name == "ids.csv" else "sample_submission.csv"):
        (tmp_path / table).write_text(f"id,label\n{rows}".replace(",", mark if table == name else ","))
    with pytest.raises(DataError, match=re.escape(f"{name} seem to be separated by {mark!r}; expected commas")):
        guess_competition(read_inventory(inventory.folder), Hints())


def test_a_table_of_an_init_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "train.csv").write_text("id,label\n1,a\n2,b,c\n")
    with pytest.raises(
        DataError, match=r"train\.csv cannot be read as a CSV: .*Expected 2 fields in line 3, saw 3; expected text"
    ):
        read_inventory(tmp_path)


def test_the_size_of_the_smallest_class_is_given_as_a_reason(tmp_path):
    table = {"id": range(20), "label": ["a"] * 10 + ["b"] * 9 + ["c"]}
    guess = guess_competition(folder_with(tmp_path, IMAGES, train=table, sample_submission=table), Hints())
    assert guess.reasons["folds"] == "the smallest class has 1 image"
