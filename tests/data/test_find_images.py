import shutil

import pytest

from podium.config.patterns import Pattern
from podium.data.find_images import files_below, is_image_name, is_system_file
from podium.data.table import read_rows
from podium.data.unlabelled import find_test_set
from podium.errors import DataError


def rows_of(tiny):
    return read_rows(tiny.competition, tiny.folder)


def problem_of(tiny):
    with pytest.raises(DataError) as caught:
        rows_of(tiny)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_pattern(tiny, images, **keys):
    return tiny.change(train={"table": "train.csv", "images": images} | keys)


def by_class(tiny, images="train/{label}/{id}", **changes):
    return tiny.change(train={"images": images}, **changes)


def names_of(tiny):
    """The training images, relative to the data folder."""
    rows = rows_of(tiny)
    return [path.relative_to(tiny.folder).as_posix() for path in rows.paths_of(rows.train)]


def set_to_predict(tiny):
    return find_test_set(tiny.competition, tiny.folder)


def names_to_predict(tiny):
    return [path.relative_to(tiny.folder).as_posix() for path in set_to_predict(tiny).paths]


def add(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")


def strip_extensions(tiny):
    """Ids without the extension, in both tables."""
    for name in ("train.csv", "sample-submission.csv"):
        table = tiny.folder / name
        table.write_text(table.read_text().replace(".jpg", ""))
    return tiny


# Ids without extension


def test_ids_without_extension_find_their_files(tiny_competition):
    tiny = strip_extensions(tiny_competition)
    (tiny.folder / "train/1/0005.jpg").rename(tiny.folder / "train/1/0005.PNG")
    add(tiny.folder, "train/1/0005.json", "train/1/Thumbs.db")
    rows = rows_of(tiny)
    assert rows.train["id"].tolist()[4:6] == ["0004", "0005"]
    assert names_of(tiny)[4:6] == ["train/0/0004.jpg", "train/1/0005.PNG"]
    assert rows.notes == ["images train/{label}/{id}: added the extension .jpg for 23 ids, .PNG for 1 ids"]
    assert names_to_predict(tiny)[0] == "test_upload/0024.jpg"
    assert set_to_predict(tiny).notes == ["images test_upload/{id}: added the extension .jpg for 8 ids"]


def test_a_file_that_is_exactly_the_id_is_preferred(tiny_competition):
    tiny = strip_extensions(tiny_competition)
    add(tiny.folder, "train/1/0005")
    assert names_of(tiny)[5] == "train/1/0005"


def test_two_files_for_one_id_are_both_named(tiny_competition):
    tiny = strip_extensions(tiny_competition)
    add(tiny.folder, "train/1/0005.png")
    problem = problem_of(tiny)
    assert "1 ids in " in problem
    assert "train.csv fit several files: train/1/0005.jpg and train/1/0005.png (line 7); make the pattern" in problem


def test_a_pattern_with_an_extension_adds_none(tiny_competition):
    tiny = strip_extensions(tiny_competition)
    problem = problem_of(with_pattern(tiny, "train/{label}/{id}.png"))
    assert "24 images listed in " in problem
    assert "do not exist in " in problem
    assert "train/0/0000.png (line 2), train/1/0001.png (line 3)" in problem
    assert problem.endswith("(line 11) and 14 more; train/0 contains 0000.jpg, for example")


def test_the_missing_folder_is_named(tiny_competition):
    assert problem_of(with_pattern(tiny_competition, "train/{Day}/{id}")).endswith("; there is no folder train/day0")


def test_ids_may_be_padded_with_zeros(tiny_competition):
    table = tiny_competition.folder / "train.csv"
    ids = [line.split(",") for line in table.read_text().splitlines()]
    lines = [",".join([str(int(id_.removesuffix(".jpg"))), *others]) for id_, *others in ids[1:]]
    table.write_text("\n".join([",".join(ids[0]), *lines]))
    tiny = with_pattern(tiny_competition, "train/{label}/{id:0>4}.jpg")
    assert rows_of(tiny).train["id"][5] == "5"
    assert names_of(tiny)[5] == "train/1/0005.jpg"


# Lines


def test_lines_are_those_of_an_editor(tiny_competition):
    (tiny_competition.folder / "train.csv").write_text(
        'Id,Category,Day\n0000.jpg,0,"two\nlines"\n\nmissing.jpg,1,day\n0002.jpg,2,day\n0003.jpg,3,day\ngone.jpg,0,day\n'
    )
    assert "train/1/missing.jpg (line 5), train/0/gone.jpg (line 8)" in problem_of(tiny_competition)


def test_a_repeated_and_an_empty_id_have_their_lines(tiny_competition):
    table = tiny_competition.folder / "train.csv"
    text = table.read_text()
    table.write_text(f"{text}0003.jpg,3,day\n")
    assert "has duplicate ids: 0003.jpg (line 26); expected" in problem_of(tiny_competition)
    table.write_text(f"{text},3,day\n")
    assert "has rows without an id: empty (line 26); add" in problem_of(tiny_competition)


# Folders


def nested(tiny):
    """The training images in train/<day>/<part>."""
    for number, path in enumerate(sorted((tiny.folder / "train").rglob("*.jpg"), key=lambda path: path.name)):
        place = tiny.folder / "train" / f"day{number // 8}" / f"part{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / path.name)
    for label in "0123":
        (tiny.folder / "train" / label).rmdir()
    return tiny


@pytest.mark.parametrize("images", ["train/**/{id}", "**/{id}", "train/{Day}/**/{id}", "train/**/{id}.jpg"])
def test_two_stars_are_any_number_of_folders(tiny_competition, images):
    tiny = nested(tiny_competition)
    if images.endswith(".jpg"):
        tiny = strip_extensions(tiny)
    tiny = with_pattern(tiny, images)
    assert names_of(tiny)[4:6] == ["train/day0/part1/0004.jpg", "train/day0/part2/0005.jpg"]
    assert rows_of(tiny).notes == []


def test_two_stars_may_also_be_no_folder(tiny_competition):
    tiny = tiny_competition.change(test={"images": "test_upload/**/{id}"})
    assert names_to_predict(tiny)[0] == "test_upload/0024.jpg"


def test_nested_files_without_extension_in_the_table(tiny_competition):
    tiny = with_pattern(strip_extensions(nested(tiny_competition)), "train/**/{id}")
    assert names_of(tiny)[5] == "train/day0/part2/0005.jpg"
    assert rows_of(tiny).notes == ["images train/**/{id}: added the extension .jpg for 24 ids"]


def test_the_same_name_in_two_folders_is_ambiguous(tiny_competition):
    tiny = nested(tiny_competition)
    add(tiny.folder, "train/day2/0005.jpg", "train/__MACOSX/0006.jpg")
    problem = problem_of(with_pattern(tiny, "train/**/{id}"))
    assert "1 ids in" in problem
    assert "train/day0/part2/0005.jpg and train/day2/0005.jpg (line 7)" in problem


def test_a_nested_image_that_is_missing_has_its_line(tiny_competition):
    tiny = nested(tiny_competition)
    (tiny.folder / "train/day0/part2/0005.jpg").unlink()
    assert "train/**/0005.jpg (line 7)" in problem_of(with_pattern(tiny, "train/**/{id}"))


def test_a_column_of_the_table_may_be_in_the_path(tiny_competition):
    for path in sorted((tiny_competition.folder / "train").rglob("*.jpg")):
        place = tiny_competition.folder / "images" / f"day{int(path.stem) // 8}"
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / path.name)
    assert names_of(with_pattern(tiny_competition, "images/{Day}/{id}"))[8] == "images/day1/0008.jpg"
    problem = problem_of(with_pattern(tiny_competition, "images/{day}/{id}"))
    assert "train.csv has no column day: it has Id, Category, Day" in problem


def test_a_value_in_the_path_cannot_lead_outside_the_data_folder(tiny_competition):
    table = tiny_competition.folder / "train.csv"
    table.write_text(table.read_text().replace("0005.jpg,1,day0", "0005.jpg,1,../day0"))
    problem = problem_of(with_pattern(tiny_competition, "train/{Day}/{id}"))
    assert "has values of Day that lead outside the data folder: ../day0 (line 7)" in problem


def test_a_column_of_a_table_of_the_test_images_may_be_in_the_path(tiny_competition):
    folder, table = tiny_competition.folder, ["file,who"]
    for number, name in enumerate(tiny_competition.answers):
        add(folder, f"scans/p{number % 2}/{name}")
        table.insert(1, f"{name},p{number % 2}")  # in another order than the sample submission
    (folder / "test.csv").write_text("\n".join(table))
    tiny = tiny_competition.change(test={"images": "scans/{who}/{id}", "table": "test.csv", "id": "file"})
    assert names_to_predict(tiny)[:2] == ["scans/p0/0024.jpg", "scans/p1/0025.jpg"]
    (folder / "test.csv").write_text("\n".join(table[:-2]))
    message = r"test\.csv has no row for 2 ids of .*: 0024\.jpg \(line 2\), 0025\.jpg \(line 3\)"
    with pytest.raises(DataError, match=message):
        set_to_predict(tiny)


@pytest.mark.parametrize("kept", ["sample_submission.csv", "sample-submission.csv"])
@pytest.mark.parametrize("named", [None, "sample_submission.csv", "sample-submission.csv"])
def test_both_spellings_of_the_sample_submission_are_found(tiny_competition, kept, named):
    (tiny_competition.folder / "sample-submission.csv").rename(tiny_competition.folder / kept)
    tiny = tiny_competition.change(submission={"sample": named} if named else {})
    assert len(set_to_predict(tiny).ids) == 8


# Images that no row names


def test_images_that_no_row_names_are_counted_and_named(tiny_competition):
    add(tiny_competition.folder, "train/0/new.jpg", "train/0/notes.txt", "train/0/._0000.jpg", "test_upload/x.png")
    folder = tiny_competition.folder
    assert rows_of(tiny_competition).notes == [f"1 images are in no table: {folder / 'train/0/new.jpg'}"]
    assert set_to_predict(tiny_competition).notes == [f"1 images are in no table: {folder / 'test_upload/x.png'}"]


def test_in_a_folder_of_training_and_test_images_none_are_unnamed(tiny_competition):
    folder = tiny_competition.folder
    (folder / "images").mkdir()
    for path in sorted(folder.rglob("*.jpg")):
        path.rename(folder / "images" / path.name)
    tiny = with_pattern(tiny_competition, "images/{id}").change(test={"images": "images/{id}"})
    assert len(names_of(tiny)) == 24
    assert len(names_to_predict(tiny)) == 8
    assert not rows_of(tiny).notes
    assert not set_to_predict(tiny).notes


# Folders of classes


def test_a_class_folder_that_is_not_a_class_is_an_error(tiny_competition):
    tiny = by_class(tiny_competition, classes=["0", "1", "3"])
    problem = problem_of(tiny)
    assert (
        "train has 6 images with a label that is not a class: 2 (6): add the classes to the competition file, or"
        in problem
    )
    assert problem.endswith("leave them out with on_ignored: skip in the competition file")
    rows = rows_of(tiny.change(on_ignored="skip"))
    assert len(rows.train) == 18
    assert rows.notes == ["ignored: 6 images with a label that is not a class: 2 (6)"]


def test_nested_images_of_a_class_are_an_error(tiny_competition):
    folder = tiny_competition.folder
    (folder / "train/2/left").mkdir()
    (folder / "train/2/0002.jpg").rename(folder / "train/2/left/0002.jpg")
    problem = problem_of(by_class(tiny_competition))
    assert "1 files that train/{label}/{id} does not match: train/2/left/0002.jpg:" in problem
    assert "use another pattern, such as train/{label}/**/{id} for nested folders" in problem
    rows = rows_of(by_class(tiny_competition, "train/{label}/**/{id}"))
    assert len(rows.train) == 24
    assert rows.train["id"].tolist()[16:19] == ["2/0022.jpg", "2/left/0002.jpg", "3/0003.jpg"]
    assert names_of(by_class(tiny_competition, "train/{label}/**/{id}"))[17] == "train/2/left/0002.jpg"


def test_folders_above_the_class_may_be_two_stars(tiny_competition):
    (tiny_competition.folder / "first").mkdir()
    (tiny_competition.folder / "train").rename(tiny_competition.folder / "first/images")
    add(tiny_competition.folder, "first/more/0/0000.jpg")
    rows = rows_of(by_class(tiny_competition, "first/**/{label}/{id}"))
    assert rows.train["id"].tolist()[5:8] == ["0/images/0020.jpg", "0/more/0000.jpg", "1/images/0001.jpg"]


def test_files_that_are_not_images_are_an_error(tiny_competition):
    add(tiny_competition.folder, *(f"train/0/{number:02}.txt" for number in range(12)), "train/1/a.csv")
    problem = problem_of(by_class(tiny_competition))
    assert "13 files that are not images: train/0/00.txt, train/0/01.txt, " in problem
    assert "train/0/09.txt and 3 more: remove them, or leave them out with on_ignored: skip" in problem
    assert len(rows_of(by_class(tiny_competition, on_ignored="skip")).train) == 24


def test_system_files_are_only_counted(tiny_competition):
    add(
        tiny_competition.folder, "train/0/Thumbs.db", "train/1/Thumbs.db", "train/.DS_Store", "train/2/desktop.ini",
        "train/__MACOSX/0/._0000.jpg", "train/3/.ipynb_checkpoints/0003.jpg",
    )  # fmt: skip
    rows = rows_of(by_class(tiny_competition))
    assert len(rows.train) == 24
    (note,) = rows.notes
    assert note.startswith("6 system files are ignored: Thumbs.db (2), ")


def test_the_test_images_may_be_in_the_folder_of_the_classes(tiny_competition):
    (tiny_competition.folder / "test_upload").rename(tiny_competition.folder / "train/test")
    tiny = by_class(tiny_competition, test={"images": "train/test/{id}"})
    rows = rows_of(tiny)
    assert (len(rows.train), rows.notes) == (24, [])
    assert names_to_predict(tiny)[0] == "train/test/0024.jpg"


def test_classes_may_be_folders_of_the_data_folder(tiny_competition):
    for label in "0123":
        (tiny_competition.folder / "train" / label).rename(tiny_competition.folder / label)
    rows = rows_of(by_class(tiny_competition, "{label}/{id}"))
    assert (len(rows.train), rows.notes) == (24, [])


def test_the_class_may_be_part_of_the_file_name(tiny_competition):
    folder, names = tiny_competition.folder, {"0": "cat", "1": "cat.big", "2": "dog", "3": "cow"}
    for path in sorted((folder / "train").rglob("*.jpg")):
        path.rename(folder / "train" / f"{names[path.parent.name]}.{path.name}")
    tiny = by_class(tiny_competition, "train/{label}.{id}.jpg", classes=list(names.values()))
    rows = rows_of(tiny)
    assert rows.train["label"].tolist() == ["cat"] * 6 + ["cat.big"] * 6 + ["dog"] * 6 + ["cow"] * 6
    assert rows.train["id"][6] == "cat.big/0001"
    assert "6 files that train/{label}.{id}.jpg does not match: train/cow." in problem_of(
        tiny.change(classes=["cat", "cat.big", "dog"])
    )


def test_a_class_without_images_is_an_error(tiny_competition):
    shutil.rmtree(tiny_competition.folder / "train/3")
    (tiny_competition.folder / "train/3").mkdir()
    assert "no image of the class 3: looked for train/{label}/{id} in " in problem_of(by_class(tiny_competition))


def test_links_are_followed_and_loops_end(tmp_path):
    add(tmp_path, "real/a.jpg", "train/b.jpg")
    (tmp_path / "train/linked").symlink_to(tmp_path / "real")
    (tmp_path / "train/loop").symlink_to(tmp_path / "train")
    assert list(files_below(tmp_path, "train")) == ["train/b.jpg", "train/linked/a.jpg"]


@pytest.mark.parametrize("name", ["a.JPG", "a", "a.b/c", "scan.0001", "x.tar.png"])
def test_a_name_with_an_image_extension_or_none_may_be_an_image(name):
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["a.txt", "a.jpg.json", "Thumbs.db"])
def test_other_names_are_not_images(name):
    assert not is_image_name(name)


def test_hidden_files_and_those_of_file_managers_are_system_files():
    assert all(map(is_system_file, ["a/Thumbs.db", ".x/a.jpg", "a/._b.jpg", "__MACOSX/a.jpg", "Desktop.ini"]))
    assert not is_system_file("a.b/c.jpg")


def test_a_column_of_any_name_may_be_a_field():
    pattern = Pattern.of("a {{b}}/{Patient ID}/{x.y}.png")
    assert pattern.fields == ["Patient ID", "x.y"]
    assert list(pattern.fill([["p", "q"], ["1", "2"]])) == ["a {b}/p/1.png", "a {b}/q/2.png"]
