"""Folds: the validation fold of each row, in a CSV file that users can read and edit."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Union

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from podium.config.competition import Competition
from podium.config.folds import GroupedFolds
from podium.data.table import CompetitionRows, columns_with_content, digest_of_columns, read_chunks
from podium.data.target import LABEL
from podium.data.targets import target_of
from podium.errors import DataError
from podium.files import atomic_write
from podium.paths import folds_file
from podium.runs import record_generated_folds

Names = Union[NDArray[Any], "pd.Series[str]"]
"""The class or the group of each row."""
_DIGITS = 6
"""Of a fold's number."""
TRAIN, TEST = "train", "test"
"""Values instead of a fold number: rows that are always used for training, and rows that are only scored at the end."""


@dataclass(frozen=True)
class Folds:
    """The fold of each training row, and the file it was read from."""

    path: Path
    of_row: NDArray[np.str_]

    @cached_property
    def numbers(self) -> list[int]:
        return sorted(int(fold) for fold in np.unique(self.of_row) if fold not in (TRAIN, TEST))

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.of_row.tobytes()).hexdigest()[:8]


def make_folds(competition: Competition, rows: CompetitionRows, runs: Path) -> Folds:
    """Read the folds of these rows from their file, which users may edit. Generate it first if it does not exist."""
    settings = competition.folds
    if settings.kind == "table":
        return read_folds(rows.folder / settings.path, rows)
    digest = digest_of_columns(columns_with_content(rows.train), settings.model_dump())
    path = folds_file(runs, competition.slug, f"{settings.kind}-{digest}")
    if not path.is_file():
        of_row = _split(competition, rows.train)
        table = rows.train[["id", *target_of(competition).columns]].assign(fold=of_row)
        with atomic_write(path) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
        record_generated_folds(path)
    return read_folds(path, rows)


def read_folds(path: Path, rows: CompetitionRows) -> Folds:
    ids = rows.train["id"]
    codes, values = _fold_codes(path, ids)
    absent = ids.to_numpy()[codes < 0]
    if len(absent):
        raise DataError(
            f"{path} has no fold for {len(absent)} of the training rows, such as {absent[0]}; add them, or delete the"
            " file to generate the folds again"
        )
    used = {code: values[code].strip() for code in np.unique(codes).tolist()}
    invalid = sorted(
        fold for fold in used.values() if fold not in (TRAIN, TEST) and not (fold.isdecimal() and len(fold) <= _DIGITS)
    )
    if invalid:
        raise DataError(f"{path} has the fold {invalid[0]!r}; expected a number from 0, train or test")
    normal = [fold if fold in (TRAIN, TEST) else str(int(fold)) for fold in used.values()]  # 01 is fold 1
    folds = Folds(path, np.array(normal, dtype=str)[np.searchsorted([*used], codes)])
    if not folds.numbers:
        raise DataError(f"{path} has no validation rows; give some rows the number of a fold")
    return folds


def _fold_codes(path: Path, ids: "pd.Series[str]") -> tuple[NDArray[np.int32], list[str]]:
    """The fold values of the file, and for each row the index of its value, or -1 if the file does not have the row."""
    position_of, codes = pd.Index(ids), np.full(len(ids), -1, dtype=np.int32)
    code_of: dict[str, int] = {}
    unknown: set[str] = set()
    for chunk in read_chunks(path, ["id", "fold"]):
        positions = position_of.get_indexer(pd.Index(chunk["id"]))
        known = positions >= 0
        is_unknown = np.array([name in unknown for name in chunk["id"]])  # isin would take longer with every chunk
        duplicate = chunk["id"].duplicated() | (known & (codes[positions] >= 0)) | is_unknown
        if duplicate.any():
            raise DataError(f"{path} has a duplicate id: {chunk['id'][duplicate].iloc[0]}")
        numbers = np.array([code_of.setdefault(fold, len(code_of)) for fold in chunk["fold"]], dtype=np.int32)
        codes[positions[known]] = numbers[known]
        unknown |= set(chunk["id"][~known])
    return codes, list(code_of)


def _split(competition: Competition, train: pd.DataFrame) -> NDArray[np.object_]:
    settings: Any = competition.folds  # each kind has its own keys
    target = target_of(competition)
    groups = _groups_of(train, competition) if settings.kind == "grouped" else None
    if groups is not None and len(groups.categories) < settings.count:
        raise DataError(
            f"{settings.count} grouped folds need at least {settings.count} groups, got {len(groups.categories)};"
            " use fewer folds"
        )
    if target.truth_is_class:
        return _split_classes(settings, _encode(train[LABEL]), groups)
    names, shares = _parts(settings)
    codes = np.arange(len(train)) if groups is None else groups.codes.astype(np.int64)
    parts = iterative_split(target.features(target.truth(train)), shares, codes, settings.seed)
    if len(np.unique(parts)) < len(names):
        raise DataError(f"{len(train)} rows are too few for this split ({settings.kind}); use fewer folds")
    return np.array(names, dtype=object)[parts]


def _groups_of(train: pd.DataFrame, competition: Competition) -> pd.Categorical:
    """The group of each row: that of train.group, joined with others that have rows of one group of folds.groups."""
    names = train["id"]
    if competition.train.group:  # a row without a group is one of its own
        of_rows = train["group"].astype(str)
        names = of_rows.where(of_rows != "", "\0" + train["id"])
    together = train["id"].map(competition.folds.groups) if isinstance(competition.folds, GroupedFolds) else None
    if together is None or not together.notna().any():
        return _encode(names)
    own = pd.factorize(names)[0]
    more = pd.factorize(together)[0]  # -1 for rows that are in none
    rows, count = np.flatnonzero(more >= 0), own.max() + 1
    size = count + more.max() + 1
    graph = coo_matrix((np.ones(len(rows), bool), (own[rows], count + more[rows])), (size, size))
    components = connected_components(graph, directed=False)[1][own]
    return _encode(np.array([f"{number:09}" for number in components]))


def _parts(settings: Any) -> tuple[list[str], list[float]]:
    """The names of the parts that the rows are split into, and the share of each."""
    if settings.kind == "holdout":
        return ["0", TRAIN], [settings.share, 1 - settings.share]
    if settings.kind == "shares":
        return ["0", TEST, TRAIN], [settings.validation, settings.test, settings.train]
    return [str(fold) for fold in range(settings.count)], [1 / settings.count] * settings.count


def _split_classes(settings: Any, labels: pd.Categorical, groups: pd.Categorical | None) -> NDArray[np.object_]:
    of_row = np.full(len(labels), TRAIN, dtype=object)
    if settings.kind == "stratified":
        _check_class_sizes(labels, settings.count)
        splitter = StratifiedKFold(settings.count, shuffle=True, random_state=settings.seed)
        for fold, (_, validation) in enumerate(splitter.split(labels.codes, labels.codes)):
            of_row[validation] = str(fold)
    elif groups is not None:
        _check_class_sizes(labels, settings.count)
        splitter = StratifiedGroupKFold(settings.count, shuffle=True, random_state=settings.seed)
        for fold, (_, validation) in enumerate(splitter.split(labels.codes, labels.codes, groups.codes)):
            of_row[validation] = str(fold)
    elif settings.kind == "holdout":
        _check_class_sizes(labels, 2)
        of_row[_sample(labels.codes, settings.share, settings.seed)] = "0"
    elif settings.kind == "shares":
        _check_class_sizes(labels, 3)
        held_out = _sample(labels.codes, settings.validation + settings.test, settings.seed, minimum=2)
        test_share = settings.test / (settings.validation + settings.test)
        of_row[held_out] = "0"
        of_row[held_out[_sample(labels.codes[held_out], test_share, settings.seed)]] = TEST
    return of_row


def iterative_split(
    features: NDArray[np.bool_], shares: Sequence[float], groups: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """The part of each row, where each part has its share of the rows and of every feature, and groups are kept whole.

    Iterative stratification (Sechidis et al., 2011): beginning with the rarest feature, each group goes to the part
    that lacks the feature most; if parts are equal, to the one that lacks most of the group's other features.
    """
    counts = np.zeros((groups.max() + 1, features.shape[1] + 1), np.float32)  # exact for whole numbers
    np.add.at(counts[:, :-1], groups, features)
    np.add.at(counts[:, -1], groups, 1)  # the last feature: to be a row
    left = counts.sum(axis=0, dtype=np.float64)
    lacking = np.outer(shares, left)
    part_of = np.full(len(counts), -1)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order, -1], kind="stable")]  # large groups first, while every part has room
    while left.any():
        feature = int(np.where(left > 0, left, np.inf).argmin())
        for group in order[(part_of[order] < 0) & (counts[order, feature] > 0)]:
            part = int(np.lexsort((lacking @ counts[group], lacking[:, feature]))[-1])
            part_of[group] = part
            lacking[part] -= counts[group]
            left -= counts[group]
    return part_of[groups]


def _encode(names: Names) -> pd.Categorical:
    """Encode names in sorted order, as scikit-learn's LabelEncoder does, but without a string for every row."""
    return pd.Categorical(names, categories=sorted(pd.unique(names)))


def _sample(labels: NDArray[np.integer[Any]], share: float, seed: int, minimum: int = 1) -> NDArray[np.int64]:
    """Positions of a share of every class: at least `minimum` of its rows, and never all of them."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    chosen = []
    for positions in _by_class(labels, shuffled):
        count = min(max(round(len(positions) * share), minimum), len(positions) - 1)
        chosen.append(positions[:count])
    return np.sort(np.concatenate(chosen))


def _by_class(labels: NDArray[np.integer[Any]], shuffled: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The shuffled positions of every class, from a single sort."""
    order = np.argsort(labels[shuffled], kind="stable")
    starts = np.flatnonzero(np.diff(labels[shuffled][order]))
    return np.split(shuffled[order], starts + 1)


def _check_class_sizes(labels: pd.Categorical, minimum: int) -> None:
    counts = np.bincount(labels.codes)
    if counts.min() < minimum:
        smallest = labels.categories[counts.argmin()]
        raise DataError(
            f"the class {smallest} has {counts.min()} images; this split needs at least {minimum} per class: use fewer"
            " folds, or your own folds.csv (folds: {kind: table, path: folds.csv})"
        )


def stratified_limit(strata: Names, limit: int, seed: int, *, of_each: bool = True) -> NDArray[np.int64]:
    """Positions of at most `limit` rows with the same balance, and at least one row of every class (`of_each`).

    A larger limit includes the rows of a smaller one: rows are taken from the start of a seeded order, which begins
    with one row of every class and distributes the rest of each class evenly.
    """
    if limit >= len(strata):
        return np.arange(len(strata))
    encoded = _encode(strata)
    if of_each and limit < len(encoded.categories):
        raise DataError(
            f"--limit {limit} is too small for {len(encoded.categories)} classes;"
            f" expected at least {len(encoded.categories)}"
        )
    shuffled = np.random.default_rng(seed).permutation(len(strata))
    rank = np.empty(len(strata))
    for rows in _by_class(encoded.codes, shuffled):
        rank[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
        rank[rows[0]] = 0.0
    return np.sort(shuffled[np.argsort(rank[shuffled], kind="stable")][:limit])


def stratified_halves(strata: Names, seed: int) -> NDArray[np.int64]:
    """For each row 0 or 1: two halves with the same balance."""
    halves = np.empty(len(strata), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(strata))
    order = order[np.argsort(np.asarray(strata)[order], kind="stable")]  # alternate within each class
    halves[order] = np.arange(len(strata)) % 2
    return halves
