import pandas as pd
import pytest

from podium.data.classes import with_classes
from podium.data.table import read_rows
from podium.errors import ConfigError, DataError


def unlisted(tiny, **changes):
    """The competition without `classes`."""
    return tiny.change(classes={}, **changes)


FLAT = {"table": "train.csv", "images": "train/{id}"}


def labels_of(tiny):
    return with_classes(tiny.competition, tiny.folder).labels


def rewrite(tiny, **columns):
    """train.csv with other columns, given a function of the label."""
    table = pd.read_csv(tiny.folder / "train.csv", dtype=str)
    for name, change in columns.items():
        table[name] = table["Category"].map(change)
    table.to_csv(tiny.folder / "train.csv", index=False)


def test_classes_are_the_sorted_labels_of_the_table(tiny_competition):
    assert labels_of(unlisted(tiny_competition)) == ["0", "1", "2", "3"]
    rewrite(tiny_competition, Category={"0": "10", "1": "9", "2": "-1", "3": "2.5"}.get)
    assert labels_of(unlisted(tiny_competition)) == ["-1", "2.5", "9", "10"]
    rewrite(tiny_competition, Category={"10": "cat", "9": "10", "-1": "ant", "2.5": "dog"}.get)
    assert labels_of(unlisted(tiny_competition)) == ["10", "ant", "cat", "dog"]


def test_classes_are_the_folders(tiny_competition):
    tiny = unlisted(tiny_competition, train={"images": "train/{label}/{id}"})
    (tiny.folder / "train/0/Thumbs.db").write_text("system")
    (tiny.folder / "train/.cache").mkdir()
    assert labels_of(tiny) == ["0", "1", "2", "3"]
    rows = read_rows(with_classes(tiny.competition, tiny.folder), tiny.folder)
    assert rows.train["label"].tolist() == ["0"] * 6 + ["1"] * 6 + ["2"] * 6 + ["3"] * 6


def test_classes_in_one_column_are_separated(tiny_competition):
    rewrite(tiny_competition, Category={"0": "b a", "1": "", "2": "c", "3": "a"}.get)
    assert labels_of(unlisted(tiny_competition, target={"kind": "multi_label", "separator": "space"}, train=FLAT)) == [
        "a",
        "b",
        "c",
    ]


def test_classes_with_a_column_each_are_those_of_the_sample_submission(tiny_competition):
    sample = tiny_competition.folder / "sample-submission.csv"
    sample.write_text("Id,dog,cat\n0024.jpg,0,0\n")
    assert labels_of(unlisted(tiny_competition, target="multi_label", train=FLAT)) == ["cat", "dog"]
    sample.unlink()
    with pytest.raises(
        DataError, match=r"no .*, whose columns would be the classes: list them in the competition file"
    ):
        labels_of(unlisted(tiny_competition, target="multi_label", train=FLAT))


def test_listed_classes_stay_in_their_order(tiny_competition):
    assert labels_of(tiny_competition.change(classes=["3", "0", "1", "2"])) == ["3", "0", "1", "2"]


def test_labels_that_do_not_fit_the_target_are_an_error(tiny_competition):
    with pytest.raises(DataError, match=r"classes in the data of tiny-squares do not fit .*expected two classes"):
        labels_of(unlisted(tiny_competition, target="binary"))
    rewrite(tiny_competition, Category={"0": "mild", "1": "severe", "2": "none", "3": "none"}.get)
    with pytest.raises(DataError, match=r"grades of tiny-squares are text .*from the lowest to the highest"):
        labels_of(unlisted(tiny_competition, target="ordinal"))


def test_a_row_without_a_label_is_an_error(tiny_competition):
    table = tiny_competition.folder / "train.csv"
    table.write_text(table.read_text().replace("0005.jpg,1", "0005.jpg,"))
    with pytest.raises(DataError, match=r"train\.csv has rows without a label in column Category: empty \(line 7\);"):
        labels_of(unlisted(tiny_competition))


def test_classes_are_not_known_without_data(tiny_competition):
    with pytest.raises(ConfigError, match="classes of tiny-squares are only known with its data: list them"):
        _ = unlisted(tiny_competition).competition.labels
