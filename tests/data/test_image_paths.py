import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from podium.data.folds import make_folds
from podium.data.image_paths import ImagePaths
from podium.data.table import paths_of, read_rows

HERE = Path("/data/train")
NAMES = ["Audi/1.jpg", "Audi/2.jpg", "BMW/1.jpg", "film/BMW/ä.jpg", "7.jpg"]
PATHS = [HERE / name for name in NAMES]


@pytest.fixture
def paths():
    return ImagePaths.under(HERE, NAMES)


def test_it_is_a_sequence_of_paths(paths):
    assert len(paths) == 5
    assert list(paths) == PATHS
    assert [paths[row] for row in range(-5, 5)] == PATHS + PATHS
    assert list(reversed(paths)) == PATHS[::-1]
    assert paths.index(PATHS[2]) == 2
    assert PATHS[3] in paths
    with pytest.raises(IndexError):
        paths[5]


def test_slices_and_selections_are_lean_too(paths):
    assert isinstance(paths[1:3], ImagePaths)
    assert list(paths[1:3]) == PATHS[1:3]
    assert list(paths[[4, 0, 0]]) == [PATHS[4], PATHS[0], PATHS[0]]
    assert list(paths.take(np.array([3, 1]))) == [PATHS[3], PATHS[1]]
    assert list(paths[np.array([True, False, False, False, True])]) == [PATHS[0], PATHS[4]]
    assert list(paths[[]]) == []


def test_texts_are_the_paths_as_the_system_takes_them(paths):
    assert list(paths.texts()) == list(map(str, PATHS))


@pytest.mark.parametrize("name", ["a//b.jpg", "./a.jpg", "a/./b.jpg", "a/", "a/.", "a/b/"])
def test_an_odd_spelling_is_the_path_that_pathlib_makes_of_it(name):
    assert list(ImagePaths.under(HERE, [name])) == [HERE / name]
    assert list(ImagePaths.under(HERE, [name]).texts()) == [str(HERE / name)]


def test_a_name_that_is_no_unicode_is_kept():
    odd = HERE / b"\xff.jpg".decode("utf-8", "surrogateescape")
    assert list(ImagePaths.of([odd])) == [odd]


def test_what_is_left_out_is_none_at_its_place(paths):
    left = paths.leaving_out({PATHS[1], HERE / "BMW/2.jpg"})
    assert list(left) == [PATHS[0], None, *PATHS[2:]]
    assert left[1] is None
    assert left.isna().tolist() == [False, True, False, False, False]
    assert list(ImagePaths.together([left, paths[:1]])) == [PATHS[0], None, *PATHS[2:], PATHS[0]]


def test_columns_of_several_sources_come_together(paths):
    other = ImagePaths.of([Path("/more/1.jpg"), None, HERE / "Audi/1.jpg"])
    together = ImagePaths.together([other, paths, other[:1]])
    assert list(together) == [Path("/more/1.jpg"), None, PATHS[0], *PATHS, Path("/more/1.jpg")]
    assert list(ImagePaths.together([])) == []


def test_images_are_told_by_their_folder(paths):
    found = {folder: positions.tolist() for folder, positions in paths[[2, 0, 3, 1]].by_folder()}
    assert found == {str(HERE / "Audi"): [1, 3], str(HERE / "BMW"): [0], str(HERE / "film/BMW"): [2]}


def test_as_a_column_it_goes_where_its_rows_go(paths):
    table = pd.DataFrame({"id": NAMES, "path": paths})
    chosen = pd.concat([table[table["id"] > "B"], table.iloc[:1]], ignore_index=True)
    assert chosen["path"].tolist() == [PATHS[2], PATHS[3], PATHS[0]]
    assert isinstance(chosen["path"].array, ImagePaths)
    assert table["path"].isin([PATHS[0], Path("elsewhere")]).tolist() == [True, False, False, False, False]
    assert (table["path"] == PATHS[4]).tolist() == [False, False, False, False, True]
    assert str(PATHS[0]) in str(table)


def test_another_process_gets_the_same(paths):
    assert list(pickle.loads(pickle.dumps(paths[1:]))) == PATHS[1:]


def test_a_million_rows_would_take_no_more_each_than_a_thousand(tmp_path, tiny_competition):
    """Rows, paths and folds together, beside what any number of rows needs; a list of paths alone took 300 bytes."""
    folder = tiny_competition.folder
    image = (folder / "train/0/0000.jpg").read_bytes()
    ids = [f"{number:06d}.jpg" for number in range(6_000)]
    for number, name in enumerate(ids):
        (folder / f"train/{number % 4}/{name}").write_bytes(image[:2])
    for kept in (2_000, 6_000):
        table = "".join(f"{name},{number % 4},d\n" for number, name in enumerate(ids[:kept]))
        (folder / "train.csv").write_text("Id,Category,Day\n" + table)
        tracemalloc.start()
        rows = read_rows(tiny_competition.competition, folder)
        folds = make_folds(tiny_competition.competition, rows, tmp_path / "runs")
        parts = [paths_of(rows.train[folds.of_row == str(fold)]) for fold in folds.numbers]
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert sum(map(len, parts)) == kept
        if kept == 2_000:
            before = held
    assert (held - before) / 4_000 < 200
