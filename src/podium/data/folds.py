"""Folds: which rows validate when, in a `folds.csv` that a person can read and replace."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from podium.config.competition import Competition
from podium.data.rows import CompetitionRows, read_table
from podium.errors import DataError
from podium.files import digest_of, write_text
from podium.paths import folds_file
from podium.runs import note_as_made

TRAIN, TEST = "train", "test"
"""In place of a fold's number: rows that always train, and rows that are only scored at the end."""


@dataclass(frozen=True)
class Folds:
    """Each training row's fold, in the order of the rows, and the file that says so."""

    path: Path
    of_row: NDArray[np.str_]

    @property
    def numbers(self) -> list[int]:
        return sorted({int(fold) for fold in self.of_row if fold not in (TRAIN, TEST)})

    @property
    def digest(self) -> str:
        return digest_of(self.of_row.tolist())


def make_folds(competition: Competition, rows: CompetitionRows, runs: Path) -> Folds:
    """The folds of these rows: read if they were made before, so that a person's change holds; made if not."""
    settings = competition.folds
    if settings.kind == "table":
        return read_folds(rows.folder / settings.path, rows)
    digest = digest_of([settings.model_dump(), rows.train[["id", "label", "group"]].values.tolist()])
    path = folds_file(runs, competition.slug, f"{settings.kind}-{digest}")
    if not path.is_file():
        of_row = _draw(competition, rows.train)
        table = pd.DataFrame({"id": rows.train["id"], "label": rows.train["label"], "fold": of_row})
        write_text(path, table.to_csv(index=False, lineterminator="\n"))
        note_as_made(path)
    return read_folds(path, rows)


def read_folds(path: Path, rows: CompetitionRows) -> Folds:
    table = read_table(path, ["id", "fold"])
    if table["id"].duplicated().any():
        raise DataError(f"{path} holds an id twice: {table['id'][table['id'].duplicated()].iloc[0]}")
    fold_of = dict(zip(table["id"], table["fold"].str.strip(), strict=True))
    absent = [row for row in rows.train["id"] if row not in fold_of]
    if absent:
        raise DataError(
            f"{path} lacks {len(absent)} of the training rows, such as {absent[0]}; give every row a fold,"
            " or remove the file to have it made anew"
        )
    of_row = np.array([fold_of[row] for row in rows.train["id"]], dtype=str)
    odd = sorted(fold for fold in set(of_row.tolist()) if fold not in (TRAIN, TEST) and not fold.isdecimal())
    if odd:
        raise DataError(f"{path} holds the fold {odd[0]!r}; a fold is a number from 0, or train, or test")
    plain = [fold if fold in (TRAIN, TEST) else str(int(fold)) for fold in of_row]  # 01 is the fold 1
    folds = Folds(path, np.array(plain, dtype=str))
    if not folds.numbers:
        raise DataError(f"{path} has no row to validate on; give some rows a fold's number")
    return folds


def _draw(competition: Competition, train: pd.DataFrame) -> NDArray[np.str_]:
    settings, labels = competition.folds, train["label"].to_numpy()
    of_row = np.full(len(train), TRAIN, dtype="<U8")
    if settings.kind == "stratified":
        _enough_of_each(labels, settings.count)
        splitter = StratifiedKFold(settings.count, shuffle=True, random_state=settings.seed)
        for fold, (_, held_out) in enumerate(splitter.split(train, labels)):
            of_row[held_out] = str(fold)
    elif settings.kind == "grouped":
        groups = train["group"].to_numpy()
        if len(set(groups)) < settings.count:
            raise DataError(
                f"{settings.count} grouped folds need as many groups: {settings.count - len(set(groups))} more than"
                f" the {len(set(groups))} there are; choose fewer folds"
            )
        _enough_of_each(labels, settings.count)
        splitter = StratifiedGroupKFold(settings.count, shuffle=True, random_state=settings.seed)
        for fold, (_, held_out) in enumerate(splitter.split(train, labels, groups)):
            of_row[held_out] = str(fold)
    elif settings.kind == "holdout":
        _enough_of_each(labels, 2)
        of_row[_share(labels, settings.share, settings.seed)] = "0"
    elif settings.kind == "shares":
        _enough_of_each(labels, 3)
        apart = _share(labels, settings.validation + settings.test, settings.seed, least=2)
        share = settings.test / (settings.validation + settings.test)
        of_row[apart] = "0"
        of_row[apart[_share(labels[apart], share, settings.seed)]] = TEST
    return of_row


def _share(labels: NDArray[np.object_], share: float, seed: int, least: int = 1) -> NDArray[np.int64]:
    """Positions of a share of every class, `least` rows of it or more, and never the whole of it."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    chosen = []
    for label in np.unique(labels.astype(str)):
        positions = shuffled[labels[shuffled] == label]
        count = min(max(round(len(positions) * share), least), len(positions) - 1)
        chosen.append(positions[:count])
    return np.sort(np.concatenate(chosen))


def _enough_of_each(labels: NDArray[np.object_], needed: int) -> None:
    names, counts = np.unique(labels.astype(str), return_counts=True)
    if counts.min() < needed:
        scarce = names[counts.argmin()]
        raise DataError(
            f"the class {scarce} has {counts.min()} pictures, and this split needs at least {needed} of each class;"
            " choose fewer folds, or give a folds.csv of your own (folds: {kind: table, path: folds.csv})"
        )


def stratified_limit(labels: NDArray[np.object_], limit: int, seed: int) -> NDArray[np.int64]:
    """Positions of at most `limit` rows in the classes' own shares, and at least one row of every class.

    They are the first ones of a seeded order that spreads each class evenly over its length, one row of every class
    ahead of all others: so a larger limit keeps the rows of a smaller one.
    """
    names, index = np.unique(labels.astype(str), return_inverse=True)
    if limit >= len(labels):
        return np.arange(len(labels))
    if limit < len(names):
        raise DataError(
            f"--limit {limit} cannot keep every one of the {len(names)} classes; give at least {len(names)}"
        )
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))
    for number in range(len(names)):
        rows = shuffled[index[shuffled] == number]
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
        place[rows[0]] = 0.0
    return np.sort(shuffled[np.argsort(place[shuffled], kind="stable")][:limit])
