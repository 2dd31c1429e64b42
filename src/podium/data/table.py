"""The rows of a competition: which images there are, what they show, and where each lies."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.config.competition import Competition, ExtraSource, TrainSource
from podium.data.archives import unpack
from podium.data.image_paths import ImagePaths
from podium.errors import DataError
from podium.files import digest_of, digest_of_parts
from podium.paths import cache_folder

_AT_A_TIME = 5_000
"""Rows of a table that are looked at together, so that a long one takes no more memory than a short one."""


@dataclass(frozen=True)
class CompetitionRows:
    """`train` has the columns id, label, group, path; `extra` the same; `test` id and path. All text but path.

    A row takes little memory: labels and groups are categories, and the paths ImagePaths.
    """

    folder: Path
    train: pd.DataFrame
    extra: pd.DataFrame
    test: pd.DataFrame

    @cached_property
    def digest(self) -> str:
        """Changes when a row, a label or a group does; not when the folder is elsewhere. What the images hold is the
        catalogue's to tell."""
        columns = ["id", "label", "group"]
        labelled = [json_of_rows(table[columns]) for table in (self.train, self.extra)]
        return digest_of_parts(joined([*labelled, json_of(_values(self.test["id"]))]))


def read_rows(competition: Competition, folder: Path) -> CompetitionRows:
    """Read the tables and find every image; all that is missing is told at once."""
    roots = _roots(competition, folder)
    train = _training_rows(competition.train, competition, folder, roots)
    columns = ["id", "label", "group", "path"]
    frames = [rows[columns] for rows in read_extra(competition, folder)]
    test = _test_rows(competition, folder, roots)
    more = pd.concat(frames, ignore_index=True) if frames else train.iloc[:0][columns]
    tables = [train[columns], more, test]
    for table, paths in zip(tables, ImagePaths.sharing([paths_of(table) for table in tables]), strict=True):
        table["path"] = paths
    return CompetitionRows(folder, *tables)


def read_extra(competition: Competition, folder: Path) -> list[pd.DataFrame]:
    """The rows of each extra source: `extra` of the competition's rows, one after the other."""
    return [_extra_rows(source, competition, folder) for source in competition.extra]


def without(rows: CompetitionRows, bad: set[Path]) -> CompetitionRows:
    """The training rows without these images; test rows stay, since every one of them needs an answer."""
    return replace(
        rows,
        train=rows.train[~rows.train["path"].isin(bad)].reset_index(drop=True),
        extra=rows.extra[~rows.extra["path"].isin(bad)].reset_index(drop=True),
    )


def paths_of(*tables: pd.DataFrame) -> ImagePaths:
    """The images of the rows of these tables, one table after the other."""
    columns = [table["path"].array for table in tables]
    return ImagePaths.together([one if isinstance(one, ImagePaths) else ImagePaths.of(one) for one in columns])


def json_of(values: Iterable[Any]) -> Iterator[str]:
    """A list as JSON, as `digest_of` spells it, a part at a time."""
    values, between = iter(values), ""
    yield "["
    while some := list(islice(values, _AT_A_TIME)):
        yield between + json.dumps(some, ensure_ascii=False)[1:-1]
        between = ", "
    yield "]"


def json_of_rows(table: pd.DataFrame) -> Iterator[str]:
    """Column by column, for a slice of several columns is made by looking at all categories of each."""
    columns = [_values(table[name]) for name in table.columns]
    return json_of(zip(*columns, strict=True))


def _values(column: "pd.Series[Any]") -> Iterator[Any]:
    for start in range(0, len(column), _AT_A_TIME):
        yield from column.iloc[start : start + _AT_A_TIME].to_numpy(dtype=object).tolist()


def joined(lists: Iterable[Iterable[str]]) -> Iterator[str]:
    """Lists of JSON in a list of their own."""
    yield "["
    for number, parts in enumerate(lists):
        yield from chain([", "] if number else [], parts)
    yield "]"


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """These columns of a CSV as text: `007` stays `007`, and `NA` is a name like any other."""
    return pd.concat(read_parts(path, columns), ignore_index=True)


def read_parts(path: Path, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The same, so many rows at a time."""
    try:
        with pd.read_csv(path, dtype=str, keep_default_na=False, chunksize=_AT_A_TIME) as parts:
            for part in parts:
                yield _wanted(part, path, columns)
    except FileNotFoundError:
        raise DataError(f"{path} is not there; is {path.parent} the competition's data folder?") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a CSV: {str(error).strip()}") from None


def _wanted(table: pd.DataFrame, path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not isinstance(table.index, pd.RangeIndex):  # pandas would take the first field for a row's name
        raise DataError(f"{path} has rows of more fields than its header; quote the fields that hold a comma")
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise DataError(
            f"{path} lacks the column {', '.join(absent)}: it has {', '.join(map(str, table.columns))};"
            " name its columns in the competition file"
        )
    return table[list(dict.fromkeys(columns))]


def _roots(competition: Competition, folder: Path) -> list[Path]:
    """Where images may lie: the data folder, then what its zips were unpacked to, if they are needed."""
    fixed = [_fixed_part(pattern) for pattern in (competition.train.images, competition.test.images)]
    if all(part != Path() and (folder / part).is_dir() for part in fixed):
        return [folder]
    roots = [folder]
    for name in competition.zips:
        archive = folder / name
        if archive.is_file():
            facts = archive.stat()
            digest = digest_of([str(archive.resolve()), facts.st_size, facts.st_mtime_ns])
            roots.append(unpack(archive, cache_folder() / "unpacked" / f"{competition.slug}-{archive.stem}-{digest}"))
    return roots


def _fixed_part(pattern: str) -> Path:
    """The folders of a pattern before its first field."""
    before = pattern.split("{", 1)[0]
    return Path(before) if before.endswith("/") else Path(before).parent


def _root_of(pattern: str, roots: Sequence[Path], **example: str) -> Path:
    """The root that has the example's image, else the first that has the pattern's folder."""
    for root in roots:
        if example and (root / pattern.format(**example)).is_file():
            return root
    for root in roots:
        if (root / _fixed_part(pattern)).is_dir():
            return root
    looked = ", ".join(str(root) for root in roots)
    raise DataError(
        f"no folder {_fixed_part(pattern)} for the images {pattern}: looked in {looked};"
        " give the competition's data folder with --data, or name its zips in the competition file"
    )


def _training_rows(source: TrainSource, competition: Competition, folder: Path, roots: Sequence[Path]) -> pd.DataFrame:
    if source.table is None:
        rows = _rows_from_folders(source, competition, _root_of(source.images, roots))
    else:
        wanted = [source.id, source.label, *([source.group] if source.group else [])]
        table = read_table(folder / source.table, wanted)
        rows = pd.DataFrame({"id": table[source.id], "label": table[source.label]})
        rows["group"] = pd.Categorical(table[source.group] if source.group else [""] * len(rows))
        _check_ids(rows, folder / source.table)
        _check_labels(rows, folder / source.table, competition)
        root = _root_of(source.images, roots, **({"id": rows["id"][0], "label": rows["label"][0]} if len(rows) else {}))
        rows["path"] = ImagePaths.under(
            root,
            (source.images.format(id=i, label=label) for i, label in zip(rows["id"], rows["label"], strict=True)),
        )
        rows["label"] = pd.Categorical(rows["label"], categories=competition.labels)
        _check_files(rows, folder / source.table)
    if rows.empty:
        raise DataError(f"no training rows in {folder / (source.table or source.images)}")
    return rows


def _extra_rows(source: ExtraSource, competition: Competition, folder: Path) -> pd.DataFrame:
    place = folder / source.folder  # an absolute folder stays what it is
    if not place.is_dir():
        raise DataError(f"the extra source {place} is no folder; mend extra in the competition file")
    return _training_rows(source, competition, place, [place])


def _rows_from_folders(source: TrainSource, competition: Competition, root: Path) -> pd.DataFrame:
    """A row for every file where the pattern says that a class's images lie."""
    ids: list[str] = []
    names: list[str] = []
    counts = []
    for label in competition.labels:
        before, _, after = source.images.format(id="\0", label=label).partition("\0")
        parent, start = (root / before, "") if before.endswith("/") else ((root / before).parent, Path(before).name)
        if not parent.is_dir():
            raise DataError(f"no folder {parent} for the class {label}; the competition file expects one per class")
        found = [name for name in _files_in(parent) if name.startswith(start) and name.endswith(after)]
        # One file name may stand in several folders, so the id carries the label.
        ids += [f"{label}/{name[len(start) : len(name) - len(after)]}" for name in found]
        names += [f"{parent}/{name}" for name in found]
        counts.append(len(found))
    labels = pd.Categorical.from_codes(np.repeat(np.arange(len(counts)), counts).tolist(), pd.Index(competition.labels))
    groups = pd.Categorical([""] * len(ids))
    return pd.DataFrame({"id": ids, "label": labels, "group": groups, "path": ImagePaths.under(Path(), names)})


def _files_in(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())


def _test_rows(competition: Competition, folder: Path, roots: Sequence[Path]) -> pd.DataFrame:
    sample = folder / competition.submission.sample
    ids = read_table(sample, [competition.submission.id])[competition.submission.id]
    rows = pd.DataFrame({"id": ids})
    _check_ids(rows, sample)
    root = _root_of(competition.test.images, roots, **({"id": ids[0]} if len(ids) else {}))
    rows["path"] = ImagePaths.under(root, (competition.test.images.format(id=name) for name in ids))
    _check_files(rows, sample)
    return rows


def _check_labels(rows: pd.DataFrame, table: Path, competition: Competition) -> None:
    unknown = sorted(set(rows["label"]) - set(competition.labels))
    if unknown:
        raise DataError(
            f"{table} holds labels that classes of the competition file does not name: {_some(unknown)};"
            f" expected {_some(competition.labels)}"
        )


def _check_ids(rows: pd.DataFrame, table: Path) -> None:
    # A series that is filtered keeps the numbers of all its rows for good.
    doubled = sorted(set(rows["id"].to_numpy()[rows["id"].duplicated().to_numpy()]))
    if doubled:
        raise DataError(f"{table} holds ids more than once: {_some(doubled)}; each image has one row")
    empty = int((rows["id"] == "").sum())
    if empty:
        raise DataError(f"{table} holds {empty} rows without an id; give each one, or remove these rows")
    # Only an id with one of these can lead anywhere; PureWindowsPath takes its time.
    odd = [name for name in rows["id"] if ".." in name or ":" in name or name[0] in "/\\"]
    strays = [name for name in odd if PureWindowsPath(name).anchor or ".." in PureWindowsPath(name).parts]
    if strays:
        raise DataError(f"{table} holds ids that lead out of the data folder: {_some(strays)}; get it from its source")


def _check_files(rows: pd.DataFrame, table: Path) -> None:
    paths, absent = paths_of(rows), []
    for folder, positions in paths.by_folder():
        present = _names_in(Path(folder))
        absent += [at for at, (_, name) in zip(positions, paths[positions].split(), strict=True) if name not in present]
    missing = [str(path) for path in paths[sorted(absent)]]
    if missing:
        raise DataError(f"{len(missing)} images that {table} names are not there: {_some(missing)}")


def _names_in(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def numbered(labels: Iterable[str], classes: list[str]) -> NDArray[np.int64]:
    """Labels as the numbers of the model's outputs."""
    number = {label: index for index, label in enumerate(classes)}
    return np.array([number[label] for label in labels], dtype=np.int64)
