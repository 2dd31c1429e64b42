from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from podium.config.competition import Competition
from podium.data.folds import iterative_split, make_folds, read_folds, stratified_halves, stratified_limit
from podium.data.image_paths import ImagePaths
from podium.data.table import CompetitionRows
from podium.errors import ConfigError, DataError
from podium.runs import edited_folds


def rows_with(labels, groups=None, folder=Path("data")):
    train = pd.DataFrame(
        {"id": [f"p{row}" for row in range(len(labels))], "label": list(labels), "group": groups or ""}
    )
    return CompetitionRows(folder, train, train.iloc[:0], ImagePaths.of([]))


def competition(folds):
    return Competition.model_validate(
        {
            "slug": "shapes",
            "train": {"table": "train.csv", "images": "train/{id}", "group": "Day"},
            "test": {"images": "test/{id}"},
            "classes": ["a", "b", "c"],
            "metric": "accuracy",
            "folds": folds,
        }
    )


def folds_of(tmp_path, rows, **folds):
    return make_folds(competition(folds), rows, tmp_path / "runs").of_row


def counts(labels, of_row):
    """How many rows of each class stand in each fold."""
    table = pd.crosstab(np.array(list(labels)), of_row)
    return {fold: table[fold].to_dict() for fold in table}


def matrix_rows(columns, groups=None):
    count = len(next(iter(columns.values())))
    train = pd.DataFrame({"id": [f"p{row}" for row in range(count)], **columns, "group": groups or ""})
    return CompetitionRows(Path("data"), train, train.iloc[:0], ImagePaths.of([]))


def matrix_competition(folds, target, **changes):
    metric = "macro_f1" if target == "multi_label" else "mae"
    content = competition(folds).model_dump() | {"target": target, "metric": metric, **changes}
    return Competition.model_validate(content)


UNEVEN = "a" * 23 + "b" * 11 + "c" * 5


def test_stratified_folds_have_the_same_class_balance(tmp_path):
    of_row = folds_of(tmp_path, rows_with(UNEVEN), kind="stratified", count=5)
    found = counts(UNEVEN, of_row)
    assert sorted(found) == ["0", "1", "2", "3", "4"]
    for shares in found.values():
        assert shares["a"] in (4, 5)
        assert shares["b"] in (2, 3)
        assert shares["c"] == 1
    assert {7, 8} >= {sum(shares.values()) for shares in found.values()}


def test_rows_of_a_group_are_in_the_same_fold(tmp_path):
    labels = "abc" * 20
    groups = [f"day{row // 5}" for row in range(60)]
    of_row = folds_of(tmp_path, rows_with(labels, groups), kind="grouped", count=3)
    folds_of_group = pd.Series(of_row).groupby(groups).nunique()
    assert (folds_of_group == 1).all()
    for shares in counts(labels, of_row).values():
        assert sum(shares.values()) == 20
        assert all(5 <= share <= 8 for share in shares.values())


def test_a_holdout_has_the_share_of_every_class(tmp_path):
    labels = "a" * 40 + "b" * 20 + "c" * 2
    found = counts(labels, folds_of(tmp_path, rows_with(labels), kind="holdout", share=0.2))
    assert found == {"0": {"a": 8, "b": 4, "c": 1}, "train": {"a": 32, "b": 16, "c": 1}}
    found = counts(labels, folds_of(tmp_path, rows_with(labels), kind="holdout", share=0.9))
    assert found["train"] == {"a": 4, "b": 2, "c": 1}


@pytest.mark.parametrize(("few", "trained"), [(3, 1), (5, 3)])
def test_shares_are_80_10_10_of_every_class(tmp_path, few, trained):
    labels = "a" * 100 + "b" * 20 + "c" * few
    found = counts(labels, folds_of(tmp_path, rows_with(labels), kind="shares"))
    assert found["train"] == {"a": 80, "b": 16, "c": trained}
    assert found["0"] == {"a": 10, "b": 2, "c": 1}
    assert found["test"] == {"a": 10, "b": 2, "c": 1}


@pytest.mark.parametrize("kind", ["stratified", "grouped", "holdout", "shares"])
def test_folds_depend_on_the_seed_only(tmp_path, kind):
    rows = rows_with("abc" * 20, [f"day{row // 5}" for row in range(60)])
    first = folds_of(tmp_path / "first", rows, kind=kind, seed=1)
    assert (folds_of(tmp_path / "again", rows, kind=kind, seed=1) == first).all()
    assert (folds_of(tmp_path / "other", rows, kind=kind, seed=2) != first).any()


def test_the_folds_file_is_a_plain_table(tmp_path):
    folds = make_folds(competition({"kind": "stratified", "count": 2}), rows_with("aabbcc"), tmp_path)
    table = pd.read_csv(folds.path, dtype=str)
    assert list(table.columns) == ["id", "label", "fold"]
    assert table["id"].tolist() == ["p0", "p1", "p2", "p3", "p4", "p5"]
    assert table["fold"].tolist() == folds.of_row.tolist()
    assert edited_folds(tmp_path, "shapes") == {}


def test_an_edited_folds_file_is_used(tmp_path):
    settings = competition({"kind": "stratified", "count": 2})
    before = make_folds(settings, rows_with("aabbcc"), tmp_path)
    table = pd.read_csv(before.path, dtype=str)
    table.loc[0, "fold"], table.loc[1, "fold"], table.loc[2, "fold"] = "7", "train", "test"
    table.sample(frac=1, random_state=0).to_csv(before.path, index=False)  # the order of its lines is free
    after = make_folds(settings, rows_with("aabbcc"), tmp_path)
    assert after.of_row.tolist()[:3] == ["7", "train", "test"]
    assert after.numbers[-1] == 7
    assert after.digest != before.digest
    assert list(edited_folds(tmp_path, "shapes")) == [before.path.name]


def test_different_rows_have_different_folds_files(tmp_path):
    settings = competition({"kind": "stratified", "count": 2})
    paths = {make_folds(settings, rows_with(labels), tmp_path).path for labels in ("aabbcc", "aabbccc", "aabbcc")}
    assert len(paths) == 2


def test_folds_can_be_read_from_a_table(tmp_path):
    (tmp_path / "mine.csv").write_text("id,fold,why\np2,1,x\np1, 0 ,y\np0,train,z\nunknown,0,w\n")
    folds = make_folds(
        competition({"kind": "table", "path": "mine.csv"}), rows_with("abc", folder=tmp_path), tmp_path / "runs"
    )
    assert folds.of_row.tolist() == ["train", "0", "1"]
    assert folds.numbers == [0, 1]
    assert not (tmp_path / "runs").exists()


def test_leading_zeros_of_a_fold_are_ignored(tmp_path):
    (tmp_path / "folds.csv").write_text("id,fold\np0,00\np1,01\np2,1\np3,000123\n")
    assert read_folds(tmp_path / "folds.csv", rows_with("abca")).of_row.tolist() == ["0", "1", "1", "123"]


@pytest.mark.parametrize("lines", ["p0,0\np1,1\np2,1\np0,0", "x,0\np0,0\np1,1\np2,1\nx,0"])
def test_a_duplicate_id_is_an_error_far_down_the_table_too(tmp_path, monkeypatch, lines):
    monkeypatch.setattr("podium.data.table._CHUNK", 2)
    (tmp_path / "folds.csv").write_text(f"id,fold\n{lines}\n")
    with pytest.raises(DataError, match=f"has a duplicate id: {lines[:2].rstrip(',')}"):
        read_folds(tmp_path / "folds.csv", rows_with("abc"))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("p0,0\np1,first\np2,1", "has the fold 'first'; expected a number from 0, train or test"),
        ("p0,0\np1,-1\np2,1", "has the fold '-1'"),
        ("p0,0\np1,1.0\np2,1", "has the fold '1.0'"),
        ("p0,0\np1,1000000\np2,1", "has the fold '1000000'"),
        ("p0,0\np1,\np2,1", "has the fold ''"),
        ("p0,0\np1,1", "has no fold for 1 of the training rows, such as p2"),
        ("p0,0\np1,1\np2,1\np0,0", "has a duplicate id: p0"),
        ("p0,train\np1,test\np2,train", "no validation rows"),
    ],
)
def test_an_invalid_table_is_an_error(tmp_path, lines, reason):
    (tmp_path / "folds.csv").write_text(f"id,fold\n{lines}\n")
    with pytest.raises(DataError, match=reason):
        read_folds(tmp_path / "folds.csv", rows_with("abc"))


@pytest.mark.parametrize(
    ("labels", "folds", "reason"),
    [
        (
            "aaaaabbbbbcccc",
            {"kind": "stratified", "count": 5},
            "the class c has 4 images; .* at least 5 per class",
        ),
        ("aaaaabbbbbc", {"kind": "holdout"}, "the class c has 1 images; .* at least 2"),
        ("aaaaabbbbbcc", {"kind": "shares"}, "the class c has 2 images; .* at least 3"),
        ("aaaaabbbbbcccc", {"kind": "grouped", "count": 5}, "the class c has 4 images; .* at least 5"),
        ("aabbcc", {"kind": "grouped", "count": 5}, "the class a has 2 images"),
    ],
)
def test_too_few_images_of_a_class_are_an_error(tmp_path, labels, folds, reason):
    groups = [f"day{row}" for row in range(len(labels))]
    with pytest.raises(DataError, match=reason):
        make_folds(competition(folds), rows_with(labels, groups), tmp_path)
    assert not list(tmp_path.rglob("*.csv"))


def test_too_few_groups_are_an_error(tmp_path):
    rows = rows_with("abc" * 10, [f"day{row % 4}" for row in range(30)])
    with pytest.raises(DataError, match="5 grouped folds need at least 5 groups, got 4"):
        folds_of(tmp_path, rows, kind="grouped", count=5)


def test_as_many_groups_as_folds_are_enough(tmp_path):
    rows = rows_with("abc" * 10, [f"day{row % 5}" for row in range(30)])
    assert set(folds_of(tmp_path, rows, kind="grouped", count=5)) == set("01234")


def test_groups_of_the_competition_file_join_those_of_the_table(tmp_path):
    """Days of two rows; a car was photographed on the first and the last, a van on the last and the sixth, a bus."""
    rows = rows_with("abc" * 10, [f"day{row // 2}" for row in range(30)])
    groups = {"p1": "car", "p28": "car", "p29": "van", "p10": "van", "p2": "bus", "p4": "bus"}
    of_row = folds_of(tmp_path, rows, kind="grouped", count=3, groups=groups)
    assert len(set(of_row[[0, 1, 10, 11, 28, 29]])) == 1
    assert len(set(of_row[2:6])) == 1
    with pytest.raises(DataError, match="14 grouped folds need at least 14 groups, got 12"):
        folds_of(tmp_path, rows, kind="grouped", count=14, groups=groups)


def test_groups_of_the_competition_file_need_no_group_column(tmp_path):
    settings = competition({"kind": "grouped", "count": 3, "groups": {f"p{row}": "one" for row in range(0, 30, 4)}})
    settings = settings.model_copy(update={"train": settings.train.model_copy(update={"group": None})})
    of_row = make_folds(settings, rows_with("abc" * 10), tmp_path).of_row
    assert len(set(of_row[::4])) == 1
    assert set(of_row) == set("012")


SKEWED = np.array(list("a" * 60 + "b" * 30 + "c" * 9 + "d"), dtype=object)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_limit_keeps_every_class_and_their_balance(seed):
    kept = SKEWED[stratified_limit(SKEWED, 20, seed)]
    assert len(kept) == 20
    assert (kept == "d").sum() == 1
    assert abs((kept == "a").sum() - 12) <= 1
    assert abs((kept == "b").sum() - 6) <= 1
    assert 1 <= (kept == "c").sum() <= 2


def test_a_larger_limit_includes_the_rows_of_a_smaller_one():
    smaller = set()
    for limit in range(4, 102):
        larger = set(stratified_limit(SKEWED, limit, seed=3).tolist())
        assert len(larger) == min(limit, 100)
        assert smaller <= larger
        assert set(SKEWED[list(larger)]) == set("abcd")
        smaller = larger


def test_a_limit_depends_on_the_seed_only_and_keeps_the_order_of_the_rows():
    first = stratified_limit(SKEWED, 20, seed=1)
    assert (first == stratified_limit(SKEWED, 20, seed=1)).all()
    assert (first != stratified_limit(SKEWED, 20, seed=2)).any()
    assert (np.diff(first) > 0).all()


def test_a_limit_below_the_number_of_classes_is_an_error():
    with pytest.raises(DataError, match="--limit 3 is too small for 4 classes; expected at least 4"):
        stratified_limit(SKEWED, 3, seed=0)


def test_a_limit_needs_no_row_of_every_range_of_numbers():
    assert len(stratified_limit(np.arange(100) // 10, 3, seed=0, of_each=False)) == 3


def test_halves_have_the_same_balance():
    halves = stratified_halves(SKEWED, seed=0)
    assert set(halves) == {0, 1}
    for label in "abcd":
        first, second = ((halves[label == SKEWED] == half).sum() for half in (0, 1))
        assert abs(first - second) <= 1
    assert (stratified_halves(SKEWED, seed=0) == halves).all()
    assert (stratified_halves(SKEWED, seed=1) != halves).any()


def test_groups_can_be_in_a_file_next_to_the_competition_file(tiny_competition, tmp_path, monkeypatch):
    path, folds = tiny_competition.config.with_name("cars.csv"), {"kind": "grouped", "groups": "cars.csv"}
    with pytest.raises(ConfigError, match=r"there is no file cars\.csv next to the competition file"):
        tiny_competition.change(folds=folds)
    path.write_text("id,group\n0000.jpg,x\n0003.jpg,x\n")
    groups = {"0000.jpg": "x", "0003.jpg": "x"}
    assert tiny_competition.change(folds=folds).competition.folds.groups == groups
    monkeypatch.chdir(path.parent)
    assert competition(folds).folds.groups == groups
    for line in ("0000.jpg,", ",x"):
        path.write_text(f"id,group\n{line}\n")
        with pytest.raises(
            ConfigError, match="expected a CSV file with the columns id and group, and both in every row"
        ):
            tiny_competition.change(folds=folds)


def test_shares_must_sum_to_1():
    with pytest.raises(ValueError, match=r"train, validation and test must sum to 1, got 1\.1"):
        competition({"kind": "shares", "train": 0.9})


def test_grouped_folds_need_a_group_column(tiny_competition):
    with pytest.raises(ConfigError, match=r"grouped folds need train\.group"):
        tiny_competition.change(folds="grouped")


# Rows with several labels, or with numbers


def several_labels(rows=300, seed=0):
    """Labels of very different frequency, which occur together at random; a tenth of the rows has none."""
    has = np.random.default_rng(seed).random((rows, 3)) < [0.5, 0.1, 0.04]
    return {f"t_{name}": has[:, number].astype(np.uint8) for number, name in enumerate("abc")}


def test_every_fold_has_its_share_of_each_label(tmp_path):
    labels = several_labels()
    settings = matrix_competition({"kind": "stratified", "count": 5}, "multi_label")
    of_row = make_folds(settings, matrix_rows(labels), tmp_path).of_row
    assert {int((of_row == str(fold)).sum()) for fold in range(5)} == {60}
    for has in labels.values():
        found = [int(has[of_row == str(fold)].sum()) for fold in range(5)]
        assert max(found) - min(found) <= 2
    assert (make_folds(settings, matrix_rows(labels), tmp_path / "again").of_row == of_row).all()
    other = matrix_competition({"kind": "stratified", "count": 5, "seed": 1}, "multi_label")
    assert (make_folds(other, matrix_rows(labels), tmp_path).of_row != of_row).any()


def test_a_seed_gives_the_same_split_in_every_version():
    """So a table of folds that was deleted is made again."""
    features = np.zeros((12, 3), dtype=bool)
    features[[1, 2, 3, 4, 7, 8, 10, 11], 0] = features[10, 1] = features[[7, 10], 2] = True
    assert "".join(map(str, iterative_split(features, [0.5, 0.3, 0.2], np.arange(12), 0))) == "020101110002"
    groups = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 5])
    assert "".join(map(str, iterative_split(features, [0.5, 0.5], groups, 0))) == "000111000111"
    strata = np.array(list("aaaaaaaaabbbbcc"))
    assert stratified_limit(strata, 8, seed=0).tolist() == [0, 2, 3, 4, 7, 10, 11, 14]
    assert "".join(map(str, stratified_halves(strata, seed=0))) == "000111001001101"


@pytest.mark.parametrize("seed", range(5))
def test_a_large_group_leaves_its_room_to_the_others(seed):
    groups = np.array([3] * 10 + [0, 1, 2, 4, 5, 6, 7, 8, 9, 10])
    parts = iterative_split(np.zeros((20, 1), dtype=bool), [0.5, 0.5], groups, seed)
    assert sorted(np.bincount(parts)) == [10, 10]


def test_groups_with_several_labels_stay_together(tmp_path):
    labels, groups = several_labels(), [f"day{row // 5}" for row in range(300)]
    settings = matrix_competition({"kind": "grouped", "count": 3}, "multi_label")
    of_row = make_folds(settings, matrix_rows(labels, groups), tmp_path).of_row
    assert all(len(set(of_row[start : start + 5])) == 1 for start in range(0, 300, 5))
    for has in labels.values():
        found = [int(has[of_row == str(fold)].sum()) for fold in range(3)]
        assert max(found) - min(found) <= 0.2 * sum(found)


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        ({"kind": "holdout", "share": 0.2}, {"0": 60, "train": 240}),
        ({"kind": "shares", "train": 0.7, "validation": 0.2, "test": 0.1}, {"0": 60, "test": 30, "train": 210}),
    ],
)
def test_shares_of_several_labels(tmp_path, folds, expected):
    labels = several_labels()
    of_row = make_folds(matrix_competition(folds, "multi_label"), matrix_rows(labels), tmp_path).of_row
    assert {name: int((of_row == name).sum()) for name in expected} == expected
    for has in labels.values():
        for name, count in expected.items():
            assert has[of_row == name].sum() == pytest.approx(has.sum() * count / 300, abs=1.5)


def test_folds_of_numbers_have_the_same_distribution(tmp_path):
    numbers = np.random.default_rng(0).exponential(size=203) ** 2
    settings = matrix_competition({"kind": "stratified", "count": 4}, "regression", classes={})
    of_row = make_folds(settings, matrix_rows({"t_Category": numbers}), tmp_path).of_row
    for edge in (0.1, 0.5, 0.9):
        below = numbers < np.quantile(numbers, edge)
        assert [below[of_row == str(fold)].mean() for fold in range(4)] == pytest.approx([edge] * 4, abs=0.03)


def test_every_number_of_a_row_is_balanced(tmp_path):
    random = np.random.default_rng(0)
    numbers = {f"t_{name}": random.normal(size=400) for name in ("x", "y", "z")}
    settings = matrix_competition(
        {"kind": "stratified", "count": 4}, {"kind": "regression", "columns": ["x", "y", "z"]}, classes={}
    )
    of_row = make_folds(settings, matrix_rows(numbers), tmp_path).of_row
    for column in numbers.values():
        assert [(column[of_row == str(fold)] > 0).mean() for fold in range(4)] == pytest.approx(
            [(column > 0).mean()] * 4, abs=0.05
        )


def test_rare_majority_of_votes_is_no_error(tmp_path):
    votes = np.random.default_rng(0).dirichlet([5, 5, 0.2], 60)
    columns = {f"t_{name}": votes[:, number].astype(np.float32) for number, name in enumerate("abc")}
    settings = matrix_competition({"kind": "stratified", "count": 5}, "soft_label")
    of_row = make_folds(settings, matrix_rows(columns), tmp_path).of_row
    first = votes.argmax(axis=1) == 0
    assert [first[of_row == str(fold)].sum() for fold in range(5)] == pytest.approx([first.sum() / 5] * 5, abs=1)


def test_fewer_rows_than_folds_are_an_error(tmp_path):
    settings = matrix_competition({"kind": "stratified", "count": 5}, "regression", classes={})
    with pytest.raises(DataError, match=r"4 rows are too few for this split \(stratified\); use fewer folds"):
        make_folds(settings, matrix_rows({"t_Category": np.arange(4.0)}), tmp_path)


def test_the_file_of_folds_has_the_truth_of_a_row(tmp_path):
    settings = matrix_competition({"kind": "stratified", "count": 2}, "multi_label")
    path = make_folds(settings, matrix_rows(several_labels(20)), tmp_path).path
    assert path.read_text().splitlines()[0] == "id,t_a,t_b,t_c,fold"


def test_other_numbers_make_other_folds(tmp_path):
    settings = matrix_competition({"kind": "stratified", "count": 2}, "regression", classes={})
    one, other = (matrix_rows({"t_Category": np.arange(20.0) + more}) for more in (0, 1))
    assert make_folds(settings, one, tmp_path).path != make_folds(settings, other, tmp_path).path
    assert one.digest != other.digest


def test_rows_without_a_group_are_groups_of_their_own(tmp_path):
    of_row = folds_of(tmp_path, rows_with("ab" * 30, ["day1"] * 10 + [""] * 50), kind="grouped", count=5)
    assert len(set(of_row[:10])) == 1
    assert set(of_row) == set("01234")
    assert max(np.unique(of_row, return_counts=True)[1]) < 30
