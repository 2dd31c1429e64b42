"""The rows of a competition: ids, truth, groups, and the path of each row's image."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.config.competition import Competition, ExtraSource, TrainSource
from podium.data.find_images import files_in, find_images, image_roots, root_of
from podium.data.image_paths import ImagePaths
from podium.data.target import LABEL
from podium.data.targets import target_of
from podium.errors import DataError, listed
from podium.files import digest_of

_CHUNK = 5_000
"""Rows processed at a time, so that the memory for intermediate values does not grow with the table."""


@dataclass(frozen=True)
class CompetitionRows:
    """The labelled rows: `train` and `extra` have the columns id, those of the target, group and image.

    `image` is the position of the row's image in `paths`. The target has the column `label`, or a column of numbers for
    each of its values. Ids, labels and groups are text; labels and groups are categories, so that a row takes little
    memory.
    """

    folder: Path
    train: pd.DataFrame
    extra: pd.DataFrame
    paths: ImagePaths

    def paths_of(self, *tables: pd.DataFrame) -> ImagePaths:
        """The images of these tables' rows, one table after the other."""
        return self.paths.take(np.concatenate([table["image"].to_numpy() for table in tables]))

    @cached_property
    def digest(self) -> str:
        """Changes with every row, truth and group, but not with the folder. The catalogue has digests of the images."""
        return digest_of_columns(column for table in (self.train, self.extra) for column in columns_with_content(table))


def read_rows(competition: Competition, folder: Path) -> CompetitionRows:
    """Read the tables and find every image. One error names all images that are missing."""
    roots = image_roots(competition, folder, competition.train.images)
    train = _training_rows(competition.train, competition, folder, roots)
    extra = read_extra(competition, folder)
    tables = [train[0], *(table for table, _ in extra)]
    paths = ImagePaths.join([train[1], *(paths for _, paths in extra)])
    first = 0
    for table in tables:
        table["image"] = np.arange(first, first + len(table), dtype=np.int32)
        first += len(table)
    joined = pd.concat(tables[1:], ignore_index=True) if extra else train[0].iloc[:0]
    columns = ["id", *target_of(competition).columns, "group", "image"]
    return CompetitionRows(folder, train[0][columns], joined[columns], paths)


def read_extra(competition: Competition, folder: Path) -> list[tuple[pd.DataFrame, ImagePaths]]:
    """The rows of each extra source, and their images."""
    return [_extra_rows(source, competition, folder) for source in competition.extra]


def drop_unreadable(rows: CompetitionRows, readable: NDArray[np.bool_], competition: Competition) -> CompetitionRows:
    """The rows whose images are `readable`; or, with `on_bad_image: error`, an error that lists the others."""
    if readable.all():
        return rows
    check_readable(rows.paths, readable, competition)
    train, extra = (
        table[readable[table["image"].to_numpy()]].reset_index(drop=True) for table in (rows.train, rows.extra)
    )
    target = target_of(competition)
    before, after = (target.classes_without_rows(target.truth(table)) for table in (rows.train, train))
    if lost := set(after) - set(before):
        raise DataError(f"no readable image left for the class {', '.join(sorted(lost))}; replace some of them")
    return CompetitionRows(rows.folder, train, extra, rows.paths)


def check_readable(paths: ImagePaths, readable: NDArray[np.bool_], competition: Competition) -> None:
    """Raise an error that lists the unreadable images, unless they may be skipped."""
    bad = np.flatnonzero(~readable)
    if len(bad) and competition.on_bad_image == "error":
        names = ", ".join(paths.text(position) for position in bad)
        raise DataError(
            f"{len(bad)} images cannot be read: {names}; replace them, or leave them out with on_bad_image: skip in"
            " the competition file"
        )


def columns_with_content(table: pd.DataFrame) -> Iterator["pd.Series[Any]"]:
    """The columns of training rows without the position of the image."""
    return (table[name] for name in table.columns if name != "image")


def digest_of_columns(columns: Iterable["pd.Series[Any]"], *more: Any) -> str:
    """The digest of all values of these columns, of text or numbers, and of the additional values."""
    digest = hashlib.sha256()
    for column in columns:
        digest.update(f"{len(column)}\n".encode())
        if column.dtype.kind in "uif":
            digest.update(column.to_numpy().tobytes())
            continue
        for start in range(0, len(column), _CHUNK):
            values = column.iloc[start : start + _CHUNK].to_numpy(dtype=object)
            digest.update("".join(f"{value}\0" for value in values).encode(errors="surrogateescape"))
    return digest_of([digest.hexdigest(), *more])


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """These columns of a CSV file as text: `007` stays `007`, and `NA` is a value like any other."""
    return pd.concat(read_chunks(path, columns), ignore_index=True)


def read_chunks(path: Path, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The same in chunks of rows."""
    try:
        with pd.read_csv(path, dtype=str, keep_default_na=False, chunksize=_CHUNK) as chunks:
            for chunk in chunks:
                yield _select(chunk, path, columns)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; is {path.parent} the competition's data folder?") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a CSV: {str(error).strip()}") from None


def _select(table: pd.DataFrame, path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes an unnamed first field as the row's name
        raise DataError(f"{path} has rows with more fields than its header; quote the fields that contain a comma")
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise DataError(
            f"{path} has no column {', '.join(absent)}: it has {', '.join(map(str, table.columns))};"
            " set its column names in the competition file"
        )
    return table[list(dict.fromkeys(columns))]


def _training_rows(
    source: TrainSource, competition: Competition, folder: Path, roots: Sequence[Path]
) -> tuple[pd.DataFrame, ImagePaths]:
    if source.table is None:
        rows, paths = _rows_from_folders(source, competition, root_of(source.images, roots))
    else:
        rows, paths = _rows_from_table(source, competition, folder / source.table, roots)
    if rows.empty:
        raise DataError(f"no training rows in {folder / (source.table or source.images)}")
    return rows, paths


def _extra_rows(source: ExtraSource, competition: Competition, folder: Path) -> tuple[pd.DataFrame, ImagePaths]:
    place = folder / source.folder  # an absolute path is not changed by this
    if not place.is_dir():
        raise DataError(f"the extra source {place} is not a folder; correct `extra` in the competition file")
    return _training_rows(source, competition, place, [place])


def _rows_from_table(
    source: TrainSource, competition: Competition, path: Path, roots: Sequence[Path]
) -> tuple[pd.DataFrame, ImagePaths]:
    target = target_of(competition)
    table = read_table(path, [source.id, *target.source_columns(source), *([source.group] if source.group else [])])
    rows = pd.DataFrame({"id": table[source.id]})
    rows["group"] = pd.Categorical(table[source.group] if source.group else [""] * len(rows))
    check_ids(rows, path)
    rows = pd.concat([rows, target.parse(table, source, path)], axis=1)
    paths = find_images(_files(rows, source), source.images, roots, path)
    return rows, paths


def _files(rows: pd.DataFrame, source: TrainSource) -> Iterator[str]:
    """The path of each row's image, relative to a root."""
    labels = rows[LABEL] if LABEL in rows else repeat("")
    return (source.images.format(id=id_, label=label) for id_, label in zip(rows["id"], labels, strict=False))


def _rows_from_folders(source: TrainSource, competition: Competition, root: Path) -> tuple[pd.DataFrame, ImagePaths]:
    """A row for every file that the pattern matches, for each class."""
    ids: list[str] = []
    files: list[str] = []
    counts = []
    for label in competition.labels:
        before, _, after = source.images.format(id="\0", label=label).partition("\0")
        parent, start = (root / before, "") if before.endswith("/") else ((root / before).parent, Path(before).name)
        if not parent.is_dir():
            raise DataError(f"no folder {parent} for the class {label}; expected one folder per class")
        found = [name for name in files_in(parent) if name.startswith(start) and name.endswith(after)]
        # Several folders may contain the same file name, so the id includes the label.
        ids += [f"{label}/{name[len(start) : len(name) - len(after)]}" for name in found]
        files += [f"{parent}/{name}" for name in found]
        counts.append(len(found))
    labels = pd.Categorical.from_codes(np.repeat(np.arange(len(counts)), counts).tolist(), pd.Index(competition.labels))
    groups = pd.Categorical([""] * len(ids))
    return pd.DataFrame({"id": ids, "label": labels, "group": groups}), ImagePaths.of(files)


def check_ids(rows: pd.DataFrame, table: Path) -> None:
    # Indexing the array: filtering the Series would cache its row labels permanently.
    duplicates = sorted(set(rows["id"].to_numpy()[rows["id"].duplicated().to_numpy()]))
    if duplicates:
        raise DataError(f"{table} has duplicate ids: {listed(duplicates)}; expected one row per image")
    empty = int((rows["id"] == "").sum())
    if empty:
        raise DataError(f"{table} has {empty} rows without an id; add the ids or remove these rows")
    # Only an id with one of these characters can leave the folder; PureWindowsPath is slow.
    suspicious = [id_ for id_ in rows["id"] if ".." in id_ or ":" in id_ or id_[0] in "/\\"]
    outside = [id_ for id_ in suspicious if PureWindowsPath(id_).anchor or ".." in PureWindowsPath(id_).parts]
    if outside:
        raise DataError(
            f"{table} has ids that lead outside the data folder: {listed(outside)}; download it again from its source"
        )
