"""Folds: which rows validate when, in a `folds.csv` that a person can read and replace."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Union

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from podium.config.competition import Competition
from podium.data.table import CompetitionRows, joined, json_of, json_of_rows, read_parts
from podium.errors import DataError
from podium.files import atomic_write, digest_of_parts
from podium.paths import folds_file
from podium.runs import record_generated_folds

Names = Union[NDArray[np.object_], "pd.Series[str]"]
"""Of a class or a group, one a row."""
TRAIN, TEST = "train", "test"
"""In place of a fold's number: rows that always train, and rows that are only scored at the end."""


@dataclass(frozen=True)
class Folds:
    """Each training row's fold, in the order of the rows, and the file that says so."""

    path: Path
    of_row: NDArray[np.str_]

    @cached_property
    def numbers(self) -> list[int]:
        return sorted(int(fold) for fold in np.unique(self.of_row) if fold not in (TRAIN, TEST))

    @cached_property
    def digest(self) -> str:
        return digest_of_parts(json_of(map(str, self.of_row)))


def make_folds(competition: Competition, rows: CompetitionRows, runs: Path) -> Folds:
    """The folds of these rows: read if they were made before, so that a person's change holds; made if not."""
    settings = competition.folds
    if settings.kind == "table":
        return read_folds(rows.folder / settings.path, rows)
    decides = [
        [json.dumps(settings.model_dump(), sort_keys=True, ensure_ascii=False, default=str)],
        json_of_rows(rows.train[["id", "label", "group"]]),
    ]
    digest = digest_of_parts(joined(decides))
    path = folds_file(runs, competition.slug, f"{settings.kind}-{digest}")
    if not path.is_file():
        of_row = _draw(competition, rows.train)
        table = pd.DataFrame({"id": rows.train["id"], "label": rows.train["label"], "fold": of_row})
        with atomic_write(path) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
        record_generated_folds(path)
    return read_folds(path, rows)


def read_folds(path: Path, rows: CompetitionRows) -> Folds:
    ids = rows.train["id"]
    codes, spelt = _fold_codes(path, ids)
    absent = ids.to_numpy()[codes < 0]
    if len(absent):
        raise DataError(
            f"{path} lacks {len(absent)} of the training rows, such as {absent[0]}; give every row a fold,"
            " or remove the file to have it made anew"
        )
    used = {code: spelt[code].strip() for code in np.unique(codes).tolist()}
    odd = sorted(fold for fold in used.values() if fold not in (TRAIN, TEST) and not fold.isdecimal())
    if odd:
        raise DataError(f"{path} holds the fold {odd[0]!r}; a fold is a number from 0, or train, or test")
    plain = [fold if fold in (TRAIN, TEST) else str(int(fold)) for fold in used.values()]  # 01 is the fold 1
    of_row = np.array(plain, dtype=str)[np.searchsorted([*used], codes)]
    folds = Folds(path, of_row)
    if not folds.numbers:
        raise DataError(f"{path} has no row to validate on; give some rows a fold's number")
    return folds


def _fold_codes(path: Path, ids: "pd.Series[str]") -> tuple[NDArray[np.int32], list[str]]:
    """Each row's fold as its number among all that the file spells, or -1 where the file lacks the row."""
    place_of, codes = pd.Index(ids), np.full(len(ids), -1, dtype=np.int32)
    number_of: dict[str, int] = {}
    strangers: set[str] = set()
    for part in read_parts(path, ["id", "fold"]):
        places = place_of.get_indexer(pd.Index(part["id"]))
        known = places >= 0
        doubled = part["id"].duplicated() | (known & (codes[places] >= 0)) | part["id"].isin(strangers)
        if doubled.any():
            raise DataError(f"{path} holds an id twice: {part['id'][doubled].iloc[0]}")
        numbers = np.array([number_of.setdefault(fold, len(number_of)) for fold in part["fold"]], dtype=np.int32)
        codes[places[known]] = numbers[known]
        strangers |= set(part["id"][~known])
    return codes, list(number_of)


def _draw(competition: Competition, train: pd.DataFrame) -> NDArray[np.object_]:
    settings, labels = competition.folds, _numbered(train["label"])
    of_row = np.full(len(train), TRAIN, dtype=object)  # as pandas would make it, with a text of its own for each
    if settings.kind == "stratified":
        _enough_of_each(labels, settings.count)
        splitter = StratifiedKFold(settings.count, shuffle=True, random_state=settings.seed)
        for fold, (_, held_out) in enumerate(splitter.split(labels.codes, labels.codes)):
            of_row[held_out] = str(fold)
    elif settings.kind == "grouped":
        groups = _numbered(train["group"])
        if len(groups.categories) < settings.count:
            raise DataError(
                f"{settings.count} grouped folds need as many groups: {settings.count - len(groups.categories)} more"
                f" than the {len(groups.categories)} there are; choose fewer folds"
            )
        _enough_of_each(labels, settings.count)
        splitter = StratifiedGroupKFold(settings.count, shuffle=True, random_state=settings.seed)
        for fold, (_, held_out) in enumerate(splitter.split(labels.codes, labels.codes, groups.codes)):
            of_row[held_out] = str(fold)
    elif settings.kind == "holdout":
        _enough_of_each(labels, 2)
        of_row[_share(labels.codes, settings.share, settings.seed)] = "0"
    elif settings.kind == "shares":
        _enough_of_each(labels, 3)
        apart = _share(labels.codes, settings.validation + settings.test, settings.seed, least=2)
        share = settings.test / (settings.validation + settings.test)
        of_row[apart] = "0"
        of_row[apart[_share(labels.codes[apart], share, settings.seed)]] = TEST
    return of_row


def _numbered(names: Names) -> pd.Categorical:
    """Each name as the number it has in the order of the names that there are: what scikit-learn would count out
    itself, with a long text for every row."""
    present = sorted(pd.unique(names))
    return pd.Categorical(names, categories=present)


def _share(labels: NDArray[np.integer[Any]], share: float, seed: int, least: int = 1) -> NDArray[np.int64]:
    """Positions of a share of every class, `least` rows of it or more, and never the whole of it."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    chosen = []
    for positions in _of_each(labels, shuffled):
        count = min(max(round(len(positions) * share), least), len(positions) - 1)
        chosen.append(positions[:count])
    return np.sort(np.concatenate(chosen))


def _of_each(labels: NDArray[np.integer[Any]], shuffled: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The shuffled positions of every class that there is. One sorting: looking for each would read all for each."""
    order = np.argsort(labels[shuffled], kind="stable")
    starts = np.flatnonzero(np.diff(labels[shuffled][order]))
    return np.split(shuffled[order], starts + 1)


def _enough_of_each(labels: pd.Categorical, needed: int) -> None:
    counts = np.bincount(labels.codes)
    if counts.min() < needed:
        scarce = labels.categories[counts.argmin()]
        raise DataError(
            f"the class {scarce} has {counts.min()} images, and this split needs at least {needed} of each class;"
            " choose fewer folds, or give a folds.csv of your own (folds: {kind: table, path: folds.csv})"
        )


def stratified_limit(labels: Names, limit: int, seed: int) -> NDArray[np.int64]:
    """Positions of at most `limit` rows in the classes' own shares, and at least one row of every class.

    They are the first ones of a seeded order that spreads each class evenly over its length, one row of every class
    ahead of all others: so a larger limit keeps the rows of a smaller one.
    """
    if limit >= len(labels):
        return np.arange(len(labels))
    numbered = _numbered(labels)
    if limit < len(numbered.categories):
        raise DataError(
            f"--limit {limit} cannot keep every one of the {len(numbered.categories)} classes;"
            f" give at least {len(numbered.categories)}"
        )
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))
    for rows in _of_each(numbered.codes, shuffled):
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
        place[rows[0]] = 0.0
    return np.sort(shuffled[np.argsort(place[shuffled], kind="stable")][:limit])
