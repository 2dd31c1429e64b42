import os
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from podium.data.folds import make_folds
from podium.data.table import drop_unreadable, read_rows, read_table
from podium.data.unlabelled import find_test_set, read_test_set
from podium.errors import DataError, UnsafeArchiveError


def rows_of(tiny):
    return read_rows(tiny.competition, tiny.folder)


def read_both(tiny):
    """The labelled rows and the test set."""
    return rows_of(tiny), find_test_set(tiny.competition, tiny.folder)


def train_path(rows, position):
    return rows.paths_of(rows.train)[position]


def add_line(path, line):
    path.write_text(path.read_text() + line + "\n")


def rename(tiny, old, new, label):
    """Give a training image another id, in the table and on the disk."""
    table = tiny.folder / "train.csv"
    table.write_text(table.read_text().replace(old, new))
    (tiny.folder / "train" / label / old).rename(tiny.folder / "train" / label / new)


def test_each_row_has_its_label_and_its_image(tiny_competition):
    rows = rows_of(tiny_competition)
    assert list(rows.train.columns) == ["id", "label", "group", "image"]
    assert len(rows.train) == 24
    assert rows.train.loc[5, ["id", "label", "group"]].tolist() == ["0005.jpg", "1", ""]
    assert train_path(rows, 5) == tiny_competition.folder / "train/1/0005.jpg"
    assert all(path.is_file() for path in rows.paths_of(rows.train))
    assert rows.extra.empty
    assert list(rows.extra.columns) == list(rows.train.columns)


def test_groups_are_read_from_the_configured_column(tiny_competition):
    train = {"table": "train.csv", "images": "train/{label}/{id}", "group": "Day"}
    assert (
        rows_of(tiny_competition.change(train=train)).train["group"].tolist()
        == ["day0"] * 8 + ["day1"] * 8 + ["day2"] * 8
    )


def test_without_a_table_each_folder_is_a_class(tiny_competition):
    (tiny_competition.folder / "train.csv").unlink()
    (tiny_competition.folder / "train/0/.DS_Store").write_text("no image")
    rows = rows_of(tiny_competition.change(train={"images": "train/{label}/{id}"}))
    assert len(rows.train) == 24
    assert rows.train["id"].tolist()[:2] == ["0/0000.jpg", "0/0004.jpg"]
    assert rows.train["label"].tolist() == ["0"] * 6 + ["1"] * 6 + ["2"] * 6 + ["3"] * 6
    assert train_path(rows, 6) == tiny_competition.folder / "train/1/0001.jpg"


def test_the_data_folder_may_be_a_relative_path(tiny_competition, monkeypatch):
    monkeypatch.chdir(tiny_competition.folder.parent)
    tiny = tiny_competition.change(train={"images": "train/{label}/{id}"})
    assert train_path(read_rows(tiny.competition, Path("data")), 6) == Path("data/train/1/0001.jpg")


def test_class_folders_may_contain_the_same_file_name(tiny_competition):
    for label in "0123":
        shutil.copy(tiny_competition.folder / "train/0/0000.jpg", tiny_competition.folder / f"train/{label}/same.jpg")
    rows = rows_of(tiny_competition.change(train={"images": "train/{label}/{id}"}))
    assert not rows.train["id"].duplicated().any()
    assert len(rows.train) == 28


def test_the_text_around_the_id_in_a_pattern_is_not_part_of_it(tiny_competition):
    (tiny_competition.folder / "train/0/notes.txt").write_text("no image")
    tiny = tiny_competition.change(train={"images": "train/{label}/00{id}.jpg"}, on_ignored="skip")
    rows = rows_of(tiny)
    assert len(rows.train) == 24
    assert rows.train.loc[0, "id"] == "0/00"
    assert train_path(rows, 0).name == "0000.jpg"


def test_a_missing_class_folder_is_an_error(tiny_competition):
    shutil.rmtree(tiny_competition.folder / "train/3")
    with pytest.raises(DataError, match=r"no image of the class 3: looked for train/\{label\}/\{id\} in "):
        rows_of(tiny_competition.change(train={"images": "train/{label}/{id}"}))


def test_zips_are_unpacked_into_the_cache_if_the_folders_are_missing(make_tiny_competition, tmp_path, cache):
    tiny = make_tiny_competition(tmp_path / "tiny", zipped=True)
    before = sorted(tiny.folder.iterdir())
    rows = rows_of(tiny)
    assert all(cache in path.parents and path.is_file() for path in rows.paths)
    assert sorted(tiny.folder.iterdir()) == before


def test_zips_are_not_opened_if_the_folders_exist(tiny_competition, cache):
    (tiny_competition.folder / "train.zip").write_bytes(b"not even a zip")
    assert len(rows_of(tiny_competition).train) == 24
    assert list(cache.iterdir()) == []


def test_a_zip_that_was_downloaded_again_is_unpacked_again(make_tiny_competition, tmp_path):
    tiny = make_tiny_competition(tmp_path / "tiny", zipped=True)
    first = train_path(rows_of(tiny), 0)
    assert train_path(rows_of(tiny), 0) == first
    os.utime(tiny.folder / "train.zip", ns=(0, 0))
    assert train_path(rows_of(tiny), 0) != first


def test_neither_folder_nor_zip_is_an_error(tiny_competition):
    shutil.rmtree(tiny_competition.folder / "test_upload")
    with pytest.raises(DataError, match=r"no folder test_upload for the images test_upload/\{id\}.*--data"):
        read_both(tiny_competition)


def test_ids_are_read_as_text(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("Id,Category\n007,1\nNA,null\n1e5,1.0\n,\n")
    table = read_table(path, ["Id", "Category"])
    assert table["Id"].tolist() == ["007", "NA", "1e5", ""]
    assert table["Category"].tolist() == ["1", "null", "1.0", ""]


def test_images_called_007_and_na_are_found(tiny_competition):
    rename(tiny_competition, "0000.jpg", "007", "0")
    rename(tiny_competition, "0001.jpg", "NA", "1")
    rows = rows_of(tiny_competition)
    assert rows.train["id"].tolist()[:3] == ["007", "NA", "0002.jpg"]
    assert train_path(rows, 0).name == "007"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("Id;Category\na;1\n", r"columns of .*table\.csv seem to be separated by ';'; expected commas"),
        ("Id\tCategory\na\t1,5\n", r"seem to be separated by '\\t'"),
        ("Id,Label\na,1\n", "has no column Category: it has Id, Label"),
        ("Id,Category\na,1,x\nb,2,y\n", "more fields than its header"),
        (
            "Id,Category\na,1\nb,2,y\n",
            "cannot be read as a CSV: .*Expected 2 fields in line 3, saw 3; .* quotes around",
        ),
        ('Id,Category\n"a,1\n', "cannot be read as a CSV: .*EOF inside string .* quotes around"),
        ("", "cannot be read as a CSV: No columns .*; expected text in UTF-8, .* download it again"),
        (
            "Id,Category\na,caf\xe9\n".encode("latin-1"),
            "cannot be read as a CSV: .utf-8. codec .*; expected text in UTF-8, with",
        ),
        ("Id,Category\na,1\n".encode("utf-16"), "it has bytes that are zero; save it as text in UTF-8;"),
        (b"PK\x03\x04\xff\xfe\x00", "cannot be read as a CSV"),
    ],
)
def test_a_table_that_cannot_be_read_is_a_one_line_error(tmp_path, content, reason):
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=reason) as caught:
        read_table(path, ["Id", "Category"])
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_ignored(tmp_path):
    (tmp_path / "table.csv").write_bytes("\ufeffId,Category\r\na,1\r\n".encode())
    assert read_table(tmp_path / "table.csv", ["Id", "Category"]).values.tolist() == [["a", "1"]]


@pytest.mark.parametrize("name", ["train.csv", "sample-submission.csv"])
def test_a_missing_table_is_named(tiny_competition, name):
    (tiny_competition.folder / name).unlink()
    named = name.replace("-", "_")  # the usual spelling
    with pytest.raises(DataError, match=f"{named} does not exist; .*data has "):
        read_both(tiny_competition)


@pytest.mark.parametrize("name", ["train.csv", "sample-submission.csv"])
def test_duplicate_ids_are_named_once_each(tiny_competition, name):
    table = tiny_competition.folder / name
    lines = table.read_text().splitlines()
    add_line(table, "\n".join([lines[1], lines[1], lines[2]]))
    first, second = (line.split(",")[0] for line in lines[1:3])
    with pytest.raises(DataError, match=rf"has duplicate ids: {first} \(line \d+\), {second} \(line \d+\);"):
        read_both(tiny_competition)


def test_unknown_labels_are_named_in_one_error(tiny_competition):
    table = tiny_competition.folder / "train.csv"
    line = len(table.read_text().splitlines()) + 2
    add_line(table, "x.jpg,7,d\ny.jpg,,d\nz.jpg,7.0,d")
    shown = (
        rf"are not classes of the competition file: '7' in line {line - 1}, an empty label in line {line},"
        rf" '7\.0' in line {line + 1}; expected 0, 1, 2, 3"
    )
    with pytest.raises(DataError, match=shown):
        rows_of(tiny_competition)


def test_data_that_is_not_unpacked_is_named_in_the_error(tiny_competition):
    folder = tiny_competition.folder
    shutil.make_archive(str(folder / "photographs"), "zip", folder, "train")
    shutil.rmtree(folder / "train")
    with pytest.raises(DataError, match=r"no folder train .*; unpack .*photographs\.zip.*, or give"):
        rows_of(tiny_competition)
    (folder / "train.csv").unlink()
    with pytest.raises(DataError, match=r"train\.csv does not exist; .*: unpack .*photographs\.zip.*, or correct"):
        rows_of(tiny_competition)


def test_missing_images_are_named_in_one_error(tiny_competition):
    for number in range(12):
        (tiny_competition.folder / f"train/{number % 4}/{number:04}.jpg").unlink()
    with pytest.raises(DataError, match=r"12 images listed in .*train\.csv do not exist in .* and 2 more") as caught:
        rows_of(tiny_competition)
    assert all(f"train/{number % 4}/{number:04}.jpg" in str(caught.value) for number in range(10))


def test_a_row_without_an_id_is_an_error(tiny_competition):
    add_line(tiny_competition.folder / "train.csv", ",1,day9")
    with pytest.raises(DataError, match="has rows without an id"):
        rows_of(tiny_competition)


def test_a_table_without_rows_is_an_error(tiny_competition):
    (tiny_competition.folder / "train.csv").write_text("Id,Category\n")
    with pytest.raises(DataError, match=r"no training rows in .*train\.csv"):
        rows_of(tiny_competition)


@pytest.mark.parametrize("name", ["train.csv", "sample-submission.csv"])
@pytest.mark.parametrize("stray", ["../../secret.jpg", "/etc/passwd", "a/../../../secret.jpg", "..\\..\\secret.jpg"])
def test_an_id_cannot_lead_outside_the_data_folder(tiny_competition, name, stray):
    shutil.copy(tiny_competition.folder / "train/0/0000.jpg", tiny_competition.folder.parent / "secret.jpg")
    add_line(tiny_competition.folder / name, f"{stray},1,d" if name == "train.csv" else f"{stray},1")
    with pytest.raises(DataError, match="ids that lead outside the data folder: "):
        read_both(tiny_competition)


def test_an_id_may_contain_a_folder(tiny_competition):
    (tiny_competition.folder / "train/0/film").mkdir()
    rename(tiny_competition, "0000.jpg", "film/0000.jpg", "0")
    assert train_path(rows_of(tiny_competition), 0).parts[-3:] == ("0", "film", "0000.jpg")


def test_an_unsafe_zip_is_refused(tiny_competition):
    shutil.rmtree(tiny_competition.folder / "test_upload")
    with zipfile.ZipFile(tiny_competition.folder / "test.zip", "w") as archive:
        archive.writestr("../test_upload/0024.jpg", b"")
    with pytest.raises(UnsafeArchiveError):
        read_both(tiny_competition)


def test_test_rows_are_in_the_order_of_the_sample_submission(tiny_competition):
    sample = tiny_competition.folder / "sample-submission.csv"
    header, *lines = sample.read_text().splitlines()
    sample.write_text("\n".join([header, *reversed(lines)]) + "\n")
    ids = [line.split(",")[0] for line in reversed(lines)]
    test = find_test_set(tiny_competition.competition, tiny_competition.folder)
    assert test.ids == ids
    assert list(test.paths) == [tiny_competition.folder / "test_upload" / name for name in ids]


def test_extra_sources_are_separate_from_the_training_rows(tiny_competition, make_tiny_competition, tmp_path):
    other = make_tiny_competition(tmp_path / "other", train=4, test=0, seed=1)
    table = {"folder": str(other.folder), "table": "train.csv", "images": "train/{label}/{id}"}
    folders = {"folder": "../../other/data", "images": "train/{label}/{id}"}
    rows = rows_of(tiny_competition.change(extra=[table, folders]))
    assert len(rows.train) == 24
    assert rows.extra["label"].tolist() == ["0", "1", "2", "3"] * 2
    extra = rows.paths_of(rows.extra)
    assert extra[3] == other.folder / "train/3/0003.jpg"
    assert extra[7].samefile(extra[3])


def test_a_missing_extra_source_is_named(tiny_competition):
    with pytest.raises(DataError, match=r"extra source .*nowhere is not a folder"):
        rows_of(tiny_competition.change(extra=[{"folder": "nowhere", "images": "{label}/{id}"}]))


def test_the_digest_changes_with_a_label_but_not_with_the_folder(tiny_competition, tmp_path):
    before = rows_of(tiny_competition).digest
    moved = tmp_path / "elsewhere"
    shutil.copytree(tiny_competition.folder, moved)
    assert read_rows(tiny_competition.competition, moved).digest == before
    table = moved / "train.csv"
    table.write_text(table.read_text().replace("0000.jpg,0", "0000.jpg,1"))
    (moved / "train/0/0000.jpg").rename(moved / "train/1/0000.jpg")
    assert read_rows(tiny_competition.competition, moved).digest != before


# Images that cannot be read


def readable_except(rows, *images):
    readable = np.ones(len(rows.paths), dtype=bool)
    readable[list(images)] = False
    return readable


def test_all_unreadable_images_are_named_in_one_error(tiny_competition):
    rows = rows_of(tiny_competition)
    with pytest.raises(DataError, match=r"3 images cannot be read: .*on_bad_image: skip") as caught:
        drop_unreadable(rows, readable_except(rows, 0, 9, 23), tiny_competition.competition)
    assert all(str(rows.paths[image]) in str(caught.value) for image in (0, 9, 23))


def test_skip_drops_training_rows(tiny_competition):
    rows = rows_of(tiny_competition)
    skip = tiny_competition.change(on_bad_image="skip").competition
    left = drop_unreadable(rows, readable_except(rows, 0, 9), skip)
    assert left.train["id"].tolist() == [rows.train["id"][row] for row in range(24) if row not in (0, 9)]
    assert left.train.index.tolist() == list(range(22))
    assert train_path(left, 0) == train_path(rows, 1)


def test_skip_keeps_the_ids_of_unreadable_test_images(tiny_competition):
    tiny = tiny_competition.change(on_bad_image="skip")
    (tiny.folder / "test_upload" / "0026.jpg").write_bytes(b"no image")
    test = read_test_set(tiny.competition, tiny.folder)
    assert test.ids == list(tiny.answers)
    assert test.paths.missing.tolist() == [row == 2 for row in range(8)]


def test_an_unreadable_test_image_is_an_error(tiny_competition):
    (tiny_competition.folder / "test_upload" / "0026.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1 images cannot be read: .*test_upload/0026.jpg"):
        read_test_set(tiny_competition.competition, tiny_competition.folder)


def test_the_digest_of_the_test_set_changes_with_an_id_and_an_image(tiny_competition):
    folder = tiny_competition.folder
    sample, image = folder / "sample-submission.csv", folder / "test_upload" / "0024.jpg"

    def digest():
        return read_test_set(tiny_competition.competition, folder).digest

    digests = [digest(), digest()]
    sample.write_text("\n".join(sample.read_text().splitlines()[:-1]))
    digests.append(digest())
    image.write_bytes((folder / "test_upload" / "0025.jpg").read_bytes())
    digests.append(digest())
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_skip_never_drops_the_last_image_of_a_class(tiny_competition):
    rows = rows_of(tiny_competition)
    skip = tiny_competition.change(on_bad_image="skip").competition
    with pytest.raises(DataError, match="no readable image left for the class 2"):
        drop_unreadable(rows, readable_except(rows, *np.flatnonzero(rows.train["label"] == "2")), skip)


def test_a_row_takes_less_than_200_bytes(tmp_path, tiny_competition):
    """Rows, paths and folds together; a list of paths alone would take 300."""
    folder = tiny_competition.folder
    image = (folder / "train/0/0000.jpg").read_bytes()
    ids = [f"{number:06d}.jpg" for number in range(6_000)]
    for number, name in enumerate(ids):
        (folder / f"train/{number % 4}/{name}").write_bytes(image[:2])
    memory = []
    for count in (2_000, 6_000):
        table = "".join(f"{name},{number % 4},d\n" for number, name in enumerate(ids[:count]))
        (folder / "train.csv").write_text("Id,Category,Day\n" + table)
        tracemalloc.start()
        rows = read_rows(tiny_competition.competition, folder)
        folds = make_folds(tiny_competition.competition, rows, tmp_path / "runs")
        parts = [rows.paths_of(rows.train[folds.of_row == str(fold)]) for fold in folds.numbers]
        memory.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert sum(map(len, parts)) == count
    assert (memory[1] - memory[0]) / 4_000 < 200
