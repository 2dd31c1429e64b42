import os
import shutil
from pathlib import Path

import pytest

from podium.data.table import read_rows, read_table, without
from podium.errors import DataError, UnsafeArchiveError


def rows_of(tiny):
    return read_rows(tiny.competition, tiny.folder)


def add_line(path, line):
    path.write_text(path.read_text() + line + "\n")


def rename(tiny, old, new, label):
    """Give a training image another id, in the table and on the disk."""
    table = tiny.folder / "train.csv"
    table.write_text(table.read_text().replace(old, new))
    (tiny.folder / "train" / label / old).rename(tiny.folder / "train" / label / new)


def test_a_table_gives_each_row_its_label_and_its_image(tiny_competition):
    rows = rows_of(tiny_competition)
    assert list(rows.train.columns) == ["id", "label", "group", "path"]
    assert len(rows.train) == 24
    assert rows.train.loc[5, ["id", "label", "group"]].tolist() == ["0005.jpg", "1", ""]
    assert rows.train.loc[5, "path"] == tiny_competition.folder / "train/1/0005.jpg"
    assert all(path.is_file() for path in [*rows.train["path"], *rows.test["path"]])
    assert rows.extra.empty
    assert list(rows.extra.columns) == list(rows.train.columns)


def test_groups_come_from_the_column_that_the_file_names(tiny_competition):
    train = {"table": "train.csv", "images": "train/{label}/{id}", "group": "Day"}
    assert (
        rows_of(tiny_competition.change(train=train)).train["group"].tolist()
        == ["day0"] * 8 + ["day1"] * 8 + ["day2"] * 8
    )


def test_without_a_table_the_folder_is_the_class(tiny_competition):
    (tiny_competition.folder / "train.csv").unlink()
    (tiny_competition.folder / "train/0/.DS_Store").write_text("no image")
    rows = rows_of(tiny_competition.change(train={"images": "train/{label}/{id}"}))
    assert len(rows.train) == 24
    assert rows.train["id"].tolist()[:2] == ["0/0000.jpg", "0/0004.jpg"]
    assert rows.train["label"].tolist() == ["0"] * 6 + ["1"] * 6 + ["2"] * 6 + ["3"] * 6
    assert rows.train.loc[6, "path"] == tiny_competition.folder / "train/1/0001.jpg"


def test_a_folder_of_classes_may_be_named_from_here(tiny_competition, monkeypatch):
    monkeypatch.chdir(tiny_competition.folder.parent)
    tiny = tiny_competition.change(train={"images": "train/{label}/{id}"})
    assert read_rows(tiny.competition, Path("data")).train.loc[6, "path"] == Path("data/train/1/0001.jpg")


def test_one_name_may_stand_in_two_class_folders(tiny_competition):
    for label in "0123":
        shutil.copy(tiny_competition.folder / "train/0/0000.jpg", tiny_competition.folder / f"train/{label}/same.jpg")
    rows = rows_of(tiny_competition.change(train={"images": "train/{label}/{id}"}))
    assert not rows.train["id"].duplicated().any()
    assert len(rows.train) == 28


def test_what_a_pattern_says_around_the_id_is_no_part_of_it(tiny_competition):
    (tiny_competition.folder / "train/0/notes.txt").write_text("no image")
    rows = rows_of(tiny_competition.change(train={"images": "train/{label}/00{id}.jpg"}))
    assert len(rows.train) == 24
    assert rows.train.loc[0, "id"] == "0/00"
    assert rows.train.loc[0, "path"].name == "0000.jpg"


def test_a_class_without_its_folder_is_told(tiny_competition):
    shutil.rmtree(tiny_competition.folder / "train/3")
    with pytest.raises(DataError, match=r"no folder .*train/3 for the class 3"):
        rows_of(tiny_competition.change(train={"images": "train/{label}/{id}"}))


def test_zips_are_unpacked_into_the_cache_when_the_folders_are_not_there(make_tiny_competition, tmp_path, cache):
    tiny = make_tiny_competition(tmp_path / "tiny", zipped=True)
    before = sorted(tiny.folder.iterdir())
    rows = rows_of(tiny)
    assert all(cache in path.parents and path.is_file() for path in [*rows.train["path"], *rows.test["path"]])
    assert sorted(tiny.folder.iterdir()) == before


def test_zips_are_left_alone_when_the_folders_are_there(tiny_competition, cache):
    (tiny_competition.folder / "train.zip").write_bytes(b"not even a zip")
    assert len(rows_of(tiny_competition).train) == 24
    assert list(cache.iterdir()) == []


def test_a_zip_that_was_downloaded_anew_is_unpacked_anew(make_tiny_competition, tmp_path):
    tiny = make_tiny_competition(tmp_path / "tiny", zipped=True)
    first = rows_of(tiny).train.loc[0, "path"]
    assert rows_of(tiny).train.loc[0, "path"] == first
    os.utime(tiny.folder / "train.zip", ns=(0, 0))
    assert rows_of(tiny).train.loc[0, "path"] != first


def test_neither_folder_nor_zip_is_one_clear_error(tiny_competition):
    shutil.rmtree(tiny_competition.folder / "test_upload")
    with pytest.raises(DataError, match=r"no folder test_upload for the images test_upload/\{id\}.*--data"):
        rows_of(tiny_competition)


def test_ids_stay_the_text_they_are(tmp_path):
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
    assert rows.train.loc[0, "path"].name == "007"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("Id;Category\na;1\n", "lacks the column Id, Category: it has Id;Category"),
        ("Id,Label\na,1\n", "lacks the column Category: it has Id, Label"),
        ("Id,Category\na,1,x\nb,2,y\n", "more fields than its header"),
        ("Id,Category\na,1\nb,2,y\n", "cannot be read as a CSV: .*saw 3$"),
        ('Id,Category\n"a,1\n', "cannot be read as a CSV"),
        ("", "cannot be read as a CSV"),
        (b"PK\x03\x04\xff\xfe\x00", "cannot be read as a CSV"),
    ],
)
def test_a_table_that_is_not_what_the_file_says_is_one_line(tmp_path, content, reason):
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=reason) as caught:
        read_table(path, ["Id", "Category"])
    assert "\n" not in str(caught.value)


def test_excel_writes_a_byte_order_mark_and_it_does_no_harm(tmp_path):
    (tmp_path / "table.csv").write_bytes("\ufeffId,Category\r\na,1\r\n".encode())
    assert read_table(tmp_path / "table.csv", ["Id", "Category"]).values.tolist() == [["a", "1"]]


@pytest.mark.parametrize("name", ["train.csv", "sample-submission.csv"])
def test_a_missing_table_is_named(tiny_competition, name):
    (tiny_competition.folder / name).unlink()
    with pytest.raises(DataError, match=f"{name} is not there; is .*data the competition's data folder"):
        rows_of(tiny_competition)


@pytest.mark.parametrize("name", ["train.csv", "sample-submission.csv"])
def test_doubled_ids_are_named_once_each(tiny_competition, name):
    table = tiny_competition.folder / name
    lines = table.read_text().splitlines()
    add_line(table, "\n".join([lines[1], lines[1], lines[2]]))
    first, second = (line.split(",")[0] for line in lines[1:3])
    with pytest.raises(DataError, match=f"holds ids more than once: {first}, {second};"):
        rows_of(tiny_competition)


def test_labels_that_no_class_has_are_named_together(tiny_competition):
    add_line(tiny_competition.folder / "train.csv", "x.jpg,7,d\ny.jpg,,d\nz.jpg,7.0,d")
    with pytest.raises(DataError, match=r"does not name: , 7, 7\.0; expected 0, 1, 2, 3"):
        rows_of(tiny_competition)


def test_missing_images_are_counted_and_named_together(tiny_competition):
    for number in range(0, 24, 4):
        (tiny_competition.folder / f"train/0/{number:04}.jpg").unlink()
    with pytest.raises(DataError, match=r"6 images that .*train\.csv names are not there: .* and 1 more") as caught:
        rows_of(tiny_competition)
    assert all(f"train/0/{number:04}.jpg" in str(caught.value) for number in range(0, 20, 4))


def test_a_row_without_an_id_is_told(tiny_competition):
    add_line(tiny_competition.folder / "train.csv", ",1,day9")
    with pytest.raises(DataError, match="1 rows without an id"):
        rows_of(tiny_competition)


def test_a_table_without_rows_is_told(tiny_competition):
    (tiny_competition.folder / "train.csv").write_text("Id,Category\n")
    with pytest.raises(DataError, match=r"no training rows in .*train\.csv"):
        rows_of(tiny_competition)


@pytest.mark.parametrize("name", ["train.csv", "sample-submission.csv"])
@pytest.mark.parametrize("stray", ["../../secret.jpg", "/etc/passwd", "a/../../../secret.jpg", "..\\..\\secret.jpg"])
def test_an_id_never_leads_out_of_the_data_folder(tiny_competition, name, stray):
    shutil.copy(tiny_competition.folder / "train/0/0000.jpg", tiny_competition.folder.parent / "secret.jpg")
    add_line(tiny_competition.folder / name, f"{stray},1,d" if name == "train.csv" else f"{stray},1")
    with pytest.raises(DataError, match="ids that lead out of the data folder: "):
        rows_of(tiny_competition)


def test_an_id_may_name_a_folder_inside(tiny_competition):
    (tiny_competition.folder / "train/0/film").mkdir()
    rename(tiny_competition, "0000.jpg", "film/0000.jpg", "0")
    assert rows_of(tiny_competition).train.loc[0, "path"].parts[-3:] == ("0", "film", "0000.jpg")


def test_a_hostile_zip_of_the_competition_is_refused(tiny_competition):
    import zipfile

    shutil.rmtree(tiny_competition.folder / "test_upload")
    with zipfile.ZipFile(tiny_competition.folder / "test.zip", "w") as archive:
        archive.writestr("../test_upload/0024.jpg", b"")
    with pytest.raises(UnsafeArchiveError):
        rows_of(tiny_competition)


def test_test_rows_stand_in_the_order_of_the_sample_submission(tiny_competition):
    sample = tiny_competition.folder / "sample-submission.csv"
    header, *lines = sample.read_text().splitlines()
    sample.write_text("\n".join([header, *reversed(lines)]) + "\n")
    assert rows_of(tiny_competition).test["id"].tolist() == [line.split(",")[0] for line in reversed(lines)]


def test_extra_sources_stand_apart_from_the_training_rows(tiny_competition, make_tiny_competition, tmp_path):
    other = make_tiny_competition(tmp_path / "other", train=4, test=0, seed=1)
    table = {"folder": str(other.folder), "table": "train.csv", "images": "train/{label}/{id}"}
    folders = {"folder": "../../other/data", "images": "train/{label}/{id}"}
    rows = rows_of(tiny_competition.change(extra=[table, folders]))
    assert len(rows.train) == 24
    assert rows.extra["label"].tolist() == ["0", "1", "2", "3"] * 2
    assert rows.extra.loc[3, "path"] == other.folder / "train/3/0003.jpg"
    assert rows.extra.loc[7, "path"].samefile(rows.extra.loc[3, "path"])


def test_an_extra_source_that_is_not_there_is_named(tiny_competition):
    with pytest.raises(DataError, match=r"extra source .*nowhere is no folder"):
        rows_of(tiny_competition.change(extra=[{"folder": "nowhere", "images": "{label}/{id}"}]))


def test_the_digest_changes_with_a_label_and_not_with_the_place(tiny_competition, tmp_path):
    before = rows_of(tiny_competition).digest
    moved = tmp_path / "elsewhere"
    shutil.copytree(tiny_competition.folder, moved)
    assert read_rows(tiny_competition.competition, moved).digest == before
    table = moved / "train.csv"
    table.write_text(table.read_text().replace("0000.jpg,0", "0000.jpg,1"))
    (moved / "train/0/0000.jpg").rename(moved / "train/1/0000.jpg")
    assert read_rows(tiny_competition.competition, moved).digest != before


def test_without_leaves_out_training_rows_and_keeps_test_rows(tiny_competition):
    rows = rows_of(tiny_competition)
    left = without(rows, {rows.train["path"][0], rows.test["path"][0]})
    assert left.train["id"].tolist() == rows.train["id"].tolist()[1:]
    assert left.train.index.tolist() == list(range(23))
    assert left.test["id"].tolist() == rows.test["id"].tolist()
