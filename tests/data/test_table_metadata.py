"""Reading metadata from tables: numbers, categories, and what is missing."""

import numpy as np
import pandas as pd
import pytest

from podium.config.extra import Extra
from podium.config.metadata import MetadataSettings
from podium.data.extra import read_extra
from podium.data.labelled import join
from podium.data.metadata import Metadata, parse_metadata, with_categories
from podium.data.table import read_rows
from podium.data.targets import target_of
from podium.data.unlabelled import find_test_set, find_unlabelled
from podium.errors import ConfigError, DataError

TRAIN = {"table": "train.csv", "images": "train/{label}/{id}"}
TEST = {"table": "test.csv", "images": "test_upload/{id}"}
TAKES_ALL = MetadataSettings()


def write_columns(path, ids, **columns):
    pd.DataFrame({"Id": ids, **columns}).to_csv(path, index=False)


@pytest.fixture
def described(tiny_competition):
    """The tiny competition with an age, a sex and a site of every image; the test rows are in another order."""
    folder = tiny_competition.folder
    train = pd.read_csv(folder / "train.csv", dtype=str)
    train.assign(age=range(24), sex=["f", "m"] * 12, site=["s1"] * 24).to_csv(folder / "train.csv", index=False)
    ids = list(tiny_competition.answers)[::-1]
    write_columns(folder / "test.csv", ids, age=range(107, 99, -1), sex=["m"] * 4 + ["x"] * 4, site=["s1"] * 8)
    metadata = {"age": "number", "sex": "category", "site": ["s1", "s2"]}
    return tiny_competition.change(train=TRAIN, test=TEST, metadata=metadata)


def parsed(tmp_path, kind, *values):
    path = tmp_path / "table.csv"
    write_columns(path, [f"{row}.jpg" for row in range(len(values))], x=values)
    return parse_metadata(pd.read_csv(path, dtype=str, keep_default_na=False), {"x": kind}, path)["m_x"].tolist()


def test_numbers_may_be_missing_and_categories_are_text(tmp_path):
    found = parsed(tmp_path, "number", "1", "-2.5", " 3e2", "", "NA", "nan", "None ", "n/a")
    np.testing.assert_array_equal(found, [1, -2.5, 300, *[np.nan] * 5])
    assert parsed(tmp_path, "category", "1", "", "NA") == ["1", "", "NA"]


def test_text_among_numbers_is_one_error_with_ten_lines(tmp_path):
    with pytest.raises(DataError) as error:
        parsed(tmp_path, "number", "7", *["old"] * 11, "inf", "1,5", "True")
    assert str(error.value) == (
        f"{tmp_path / 'table.csv'} has metadata that are no numbers: x: "
        + ", ".join(f"'old' (line {line})" for line in range(3, 13))
        + " and 4 more; expected a number, or nothing where it is missing: correct them, or set the column to category"
        " in the competition's metadata"
    )


def test_rows_and_test_images_are_encoded_with_the_categories_of_the_training_rows(described):
    rows, test = (
        read_rows(described.competition, described.folder),
        find_test_set(described.competition, described.folder),
    )
    competition = with_categories(described.competition, [rows.train, rows.extra])
    assert competition.metadata == {"age": "number", "sex": ["f", "m"], "site": ["s1", "s2"]}
    metadata = Metadata.of(TAKES_ALL, competition)
    assert metadata.sizes == [0, 2, 2]
    np.testing.assert_array_equal(metadata.encode(rows.train)[:3], [[0, 0, 0], [1, 1, 0], [2, 0, 0]])
    np.testing.assert_array_equal(  # in the order of the sample submission
        metadata.encode(test.metadata), [[100 + row, 1 if row > 3 else np.nan, 0] for row in range(8)]
    )
    assert Metadata.of(MetadataSettings(columns=["sex"]), competition).encode(rows.train).shape == (24, 1)
    assert Metadata.of(None, competition) is None
    with pytest.raises(ConfigError, match="the categories of sex are only known with the data of tiny-squares: list"):
        Metadata.of(TAKES_ALL, described.competition)


def test_metadata_changes_the_digest_of_the_test_set_and_not_that_of_the_rows(described):
    before = read_rows(described.competition, described.folder).digest
    assert read_rows(described.change(metadata={}).competition, described.folder).digest == before
    digests = {
        find_test_set(described.change(metadata=m).competition, described.folder).digest
        for m in ({}, {"age": "number"})
    }
    assert len(digests) == 2


def test_extra_rows_may_lack_columns(described):
    write_columns(described.folder / "more.csv", ["0000.jpg", "0004.jpg"], Category=["0", "0"], age=[50, 60])
    table = {"folder": ".", "table": "more.csv", "images": "train/{label}/{id}"}
    folders = {"folder": "train", "images": "{label}/{id}"}
    extra = read_rows(described.change(extra=[table, folders]).competition, described.folder).extra
    assert extra["m_age"].tolist()[:2] == [50, 60]
    assert extra["m_age"].isna().sum() == 24  # those in folders
    assert set(extra["m_sex"]) == {""}


def test_extra_rows_of_a_member_may_lack_columns(described):
    folder, ids = described.folder, ["0000.jpg", "0004.jpg"]
    write_columns(folder / "more.csv", ids, Category=["0", "0"], age=[50, 60])
    metadata = Metadata({"age": None, "sex": ["f", "m"]})
    table = Extra(table="more.csv", images="train/{label}/{id}")
    label = Extra(label="1", images="train/1/*.jpg")
    parts = [read_extra(source, described.competition, folder, metadata) for source in (table, label)]
    joined = join(parts, target_of(described.competition))
    np.testing.assert_array_equal(joined.metadata, [[50, np.nan], [60, np.nan], *[[np.nan] * 2] * 6])
    np.testing.assert_array_equal(joined.take(np.array([1, 7])).metadata, [[60, np.nan], [np.nan] * 2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"test": {"images": "test_upload/{id}"}},
            "sample-submission.csv has no column age, sex, site for the metadata",
        ),
        (
            {"metadata": {"weight": "number"}},
            "train.csv has no column weight: it has Id, Category, Day, age, sex, site",
        ),
        (
            {"metadata": {"sex": "number"}},
            "train.csv has metadata that are no numbers: sex: 'f' (line 2), 'm' (line 3)",
        ),
    ],
)
def test_columns_that_do_not_fit_are_found_by_config_check(changes, message, described, podium_in):
    ended = podium_in(
        described.folder, "config", "check", described.change(**changes).config, "--data", described.folder
    )
    assert (ended.code, message in ended.err) == (1, True), ended.err


def test_new_images_need_the_columns_that_the_model_takes(described):
    folder, competition = described.folder / "test_upload", described.competition
    with pytest.raises(DataError, match=r"is a folder, and the model takes metadata \(age, sex\); expected a CSV file"):
        find_unlabelled(folder, competition, metadata=["age", "sex"])
    found = find_unlabelled(described.folder / "test.csv", competition, described.folder, metadata=["age"])
    assert found.metadata["m_age"].tolist() == list(range(107, 99, -1))
    assert find_unlabelled(folder, competition).metadata.empty
