"""The rows of a competition: ids, truth, groups, and the path of each row's image."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.config.competition import Competition
from podium.config.patterns import Pattern
from podium.config.sources import ExtraSource, TrainSource
from podium.data.find_images import (
    FoundImages,
    describe_unused,
    find_images,
    image_roots,
    images_of_classes,
    root_of,
    unused_files,
)
from podium.data.image_paths import ImagePaths
from podium.data.metadata import PREFIX, parse_metadata
from podium.data.target import LABEL
from podium.data.targets import target_of
from podium.errors import MOST_LISTED, DataError, RowsError, listed
from podium.files import check_separator, check_table, columns_of, digest_of, with_lines
from podium.paths import unpack_advice

_CHUNK = 5_000
"""Rows processed at a time, so that the memory for intermediate values does not grow with the table."""
_LONGEST_NAME = 250
"""Characters of a file name."""


@dataclass(frozen=True)
class SourceRows:
    """The rows of one source, and their images."""

    table: pd.DataFrame
    images: FoundImages


@dataclass(frozen=True)
class CompetitionRows:
    """The labelled rows: `train` and `extra` have the columns id, those of the target and of metadata, group and image.

    `image` is the position of the row's image in `paths`. The target has the column `label`, or a column of numbers for
    each of its values. Ids, labels and groups are text; labels and groups are categories, so that a row takes little
    memory.
    """

    folder: Path
    train: pd.DataFrame
    extra: pd.DataFrame
    paths: ImagePaths
    notes: list[str] = field(default_factory=list)
    """What a user should know about the search for images."""
    unused: Sequence[str] = ()
    """The images beside those of the tables that are in none of them."""

    def paths_of(self, *tables: pd.DataFrame) -> ImagePaths:
        """The images of these tables' rows, one table after the other."""
        return self.paths.take(np.concatenate([table["image"].to_numpy() for table in tables]))

    @cached_property
    def digest(self) -> str:
        """Changes with every row, truth and group, but not with the folder. The catalogue has digests of the images."""
        return digest_of_columns(column for table in (self.train, self.extra) for column in columns_with_content(table))


def read_rows(competition: Competition, folder: Path) -> CompetitionRows:
    """Read the tables and find every image. One error names all images that are missing."""
    roots = image_roots(competition, folder, competition.pattern_of(competition.train.images))
    train = _training_rows(competition.train, competition, folder, roots)
    if unknown := sorted(set(competition.ignore).difference(train.table["id"])):
        raise DataError(f"ignore has ids that are not those of training rows: {listed(unknown)}; correct them")
    extra = read_extra(competition, folder)
    parts = [train, *extra]
    paths = ImagePaths.join([part.images.paths for part in parts])
    first = 0
    for part in parts:
        part.table["image"] = np.arange(first, first + len(part.table), dtype=np.int32)
        first += len(part.table)
    joined = pd.concat([part.table for part in extra], ignore_index=True) if extra else train.table.iloc[:0]
    columns = [
        "id",
        *target_of(competition).columns,
        "group",
        "image",
        *(PREFIX + name for name in competition.metadata),
    ]
    notes = [note for part in parts for note in part.images.notes]
    test = competition.pattern_of(competition.test.images)
    unused = unused_files([part.images for part in parts], [root / test.folder for root in roots])
    return CompetitionRows(
        folder, train.table[columns], joined[columns], paths, notes + describe_unused(unused), unused
    )


def read_extra(competition: Competition, folder: Path) -> list[SourceRows]:
    """The rows of each extra source."""
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
    return replace(rows, train=train, extra=extra)


def check_readable(paths: ImagePaths, readable: NDArray[np.bool_], competition: Competition) -> None:
    """Raise an error that names the unreadable images, unless they may be skipped."""
    if competition.on_bad_image == "error" and not readable.all():
        raise DataError(
            f"{describe_unreadable(paths[~readable])}; replace them, or leave them out with on_bad_image: skip in the"
            " competition file"
        )


def describe_unreadable(paths: ImagePaths) -> str:
    """How many images cannot be read, and why."""
    from podium.data.images import why_unreadable

    files = [paths.text(row) for row in range(len(paths))]
    reasons = [why_unreadable(file, paths.reading) for file in files[:MOST_LISTED]]
    if len(set(reasons)) == 1:
        return f"{len(paths):,} images cannot be read: {listed(files)} ({reasons[0]})"
    named = [f"{file} ({reason})" for file, reason in zip(files, reasons, strict=False)]
    return f"{len(paths):,} images cannot be read: {listed([*named, *files[MOST_LISTED:]])}"


def columns_with_content(table: pd.DataFrame) -> Iterator["pd.Series[Any]"]:
    """The columns of training rows without the position of the image, and metadata, which only some members take."""
    return (table[name] for name in table.columns if name != "image" and not name.startswith(PREFIX))


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
        check_table(path)
        with pd.read_csv(path, dtype=str, keep_default_na=False, chunksize=_CHUNK) as chunks:
            for chunk in chunks:
                yield _select(chunk, path, columns)
    except FileNotFoundError:
        beside = sorted(other.name for other in path.parent.glob("*.csv"))
        found = f"{path.parent} has {listed(beside)}" if beside else f"{path.parent} has no CSV files"
        raise DataError(
            f"{path} does not exist; {found}: {unpack_advice(path.parent)}correct the file's name in the competition"
            " file, or the data folder"
        ) from None
    except (OSError, ValueError) as error:
        raise no_csv(path, error) from None


def no_csv(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} cannot be read as a CSV: {str(error).strip()}; expected text in UTF-8, with quotes around fields that"
        " contain a comma: correct it or download it again"
    )


def _select(table: pd.DataFrame, path: Path, columns: Sequence[str]) -> pd.DataFrame:
    check_separator(path, list(table.columns))
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes an unnamed first field as the row's name
        raise DataError(f"{path} has rows with more fields than its header; quote the fields that contain a comma")
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise DataError(
            f"{path} has no column {', '.join(absent)}: it has {', '.join(map(str, table.columns))};"
            " set its column names in the competition file"
        )
    return table[list(dict.fromkeys(columns))]


def _training_rows(source: TrainSource, competition: Competition, folder: Path, roots: Sequence[Path]) -> SourceRows:
    if source.table is None:
        rows = _rows_from_folders(source, competition, roots)
    else:
        rows = rows_from_table(source, competition, folder / source.table, roots)
    if rows.table.empty:
        raise DataError(f"no training rows in {folder / (source.table or source.images)}")
    return rows


def _extra_rows(source: ExtraSource, competition: Competition, folder: Path) -> SourceRows:
    place = folder / source.folder  # an absolute path is not changed by this
    if not place.is_dir():
        raise DataError(f"the extra source {place} is not a folder; correct `extra` in the competition file")
    return _training_rows(source, competition, place, [place])


def rows_from_table(source: TrainSource, competition: Competition, path: Path, roots: Sequence[Path]) -> SourceRows:
    target, pattern = target_of(competition), competition.pattern_of(source.images)
    group = [source.group] if source.group else []
    metadata = list(competition.metadata)
    if source is not competition.train and metadata:  # other data often has less
        metadata = [name for name in metadata if name in columns_of(path)]
    table = read_table(path, [source.id, *target.source_columns(source), *group, *other_fields(pattern), *metadata])
    rows = pd.DataFrame({"id": table[source.id]})
    rows["group"] = pd.Categorical(table[source.group] if source.group else [""] * len(rows))
    check_ids(rows["id"], path)
    parsed = [target.parse(table, source, path), parse_metadata(table, competition.metadata, path)]
    rows = pd.concat([rows, *parsed], axis=1)
    values = {**dict(table.items()), "id": rows["id"], "label": rows.get(LABEL)}
    return SourceRows(rows, find_images(files_of(pattern, values, path), pattern, roots, path, competition.reading))


def _rows_from_folders(source: TrainSource, competition: Competition, roots: Sequence[Path]) -> SourceRows:
    """A row for every file that the pattern matches, for each class."""
    pattern = competition.pattern_of(source.images)
    root = root_of(pattern, roots)
    others = other_folders(competition, root, pattern)
    found = images_of_classes(pattern, competition.labels, root, others, competition.reading)
    if found.ignored and competition.on_ignored == "error":
        raise DataError(
            f"{root / pattern.folder} has {'; '.join(found.ignored)}: {', '.join(found.ignored.values())}, or leave"
            " them out with on_ignored: skip in the competition file"
        )
    found.images.notes.extend(f"ignored: {what}" for what in found.ignored)
    codes = np.repeat(np.arange(len(found.labels)), found.counts).tolist()
    labels = pd.Categorical.from_codes(codes, pd.Index(found.labels))
    groups = pd.Categorical([""] * len(found.ids))
    rows = pd.DataFrame({"id": found.ids, "label": labels, "group": groups})
    metadata = parse_metadata(rows[["id"]], competition.metadata, root)
    return SourceRows(pd.concat([rows, metadata], axis=1), found.images)


def other_folders(competition: Competition, root: Path, pattern: Pattern) -> list[Path]:
    """Folders with other images than those of this pattern, below the folder of the pattern."""
    others = [
        competition.pattern_of(competition.test.images).folder,
        *(Path(extra.folder) for extra in competition.extra),
    ]
    return [root / other for other in others if root / pattern.folder in (root / other).parents]


def other_fields(pattern: Pattern) -> list[str]:
    """The columns that a pattern needs besides the id and the label."""
    return [name for name in pattern.fields if name not in ("id", "label")]


def files_of(pattern: Pattern, values: Mapping[Any, Any], table: Path) -> Iterator[str]:
    """The path of each row's image, relative to a root."""
    for name in pattern.fields:
        _check_inside(values[name], name, table)
    return pattern.fill([values[name] for name in pattern.fields])


def check_ids(ids: "pd.Series[str]", table: Path) -> None:
    # Indexing the array: filtering the Series would cache its row labels permanently.
    repeated = np.flatnonzero(ids.duplicated().to_numpy())
    if len(repeated):
        first = {id_: row for row, id_ in zip(repeated[::-1].tolist(), ids.to_numpy()[repeated[::-1]], strict=True)}
        lines = with_lines(table, {row: id_ for id_, row in first.items()})
        later = dict(zip(repeated.tolist(), ids.to_numpy()[repeated], strict=True))
        message = f"{table} has duplicate ids: {lines}; expected one row per image"
        raise RowsError(message, table, "its id is that of an earlier row", later)
    check_filled(ids, "an id", table)


def check_filled(values: "pd.Series[str]", what: str, table: Path, empty: Sequence[str] = ("",)) -> None:
    """Fail if values are one of the texts `empty`, in any case."""
    rows = np.flatnonzero(values.str.strip().str.lower().isin(empty)).tolist()
    if rows:
        lines = with_lines(table, {row: values.iloc[row].strip() or "empty" for row in rows})
        message = f"{table} has rows without {what}: {lines}; add it or remove these rows"
        raise RowsError(message, table, f"it is without {what}", dict.fromkeys(rows, ""))


def _check_inside(values: "pd.Series[str]", column: str, table: Path) -> None:
    """Fail if a value leads outside the data folder, or is too long for a path."""
    if long := {text: row for row, text in enumerate(values) if len(text) > _LONGEST_NAME}:
        lines = with_lines(table, {row: f"{text[:20]}…" for text, row in long.items()})
        raise RowsError(
            f"{table} has values of {column} with more than {_LONGEST_NAME} characters: {lines}; expected the names of"
            " files",
            table, "it is too long for a file name", {row: text for text, row in long.items()},
        )  # fmt: skip
    # Only a text with one of these characters can; PureWindowsPath is slow.
    suspicious = {text for text in values.unique() if ".." in text or ":" in text or text[:1] in ("/", "\\")}
    outside = {text for text in suspicious if PureWindowsPath(text).anchor or ".." in PureWindowsPath(text).parts}
    if outside:
        rows = np.flatnonzero(values.isin(outside).to_numpy()).tolist()
        texts = {row: values.iloc[row] for row in rows}
        what = "ids" if column == "id" else f"values of {column}"
        raise RowsError(
            f"{table} has {what} that lead outside the data folder: {with_lines(table, texts)}; download it again from"
            " its source",
            table, "it leads outside the data folder", texts,
        )  # fmt: skip
