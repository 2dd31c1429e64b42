"""The rows of a competition: ids, labels, groups, and the path of each row's image."""

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.config.competition import Competition, ExtraSource, TrainSource
from podium.data.archives import unpack
from podium.errors import DataError
from podium.files import digest_of
from podium.paths import cache_folder

_CHUNK = 5_000
"""Rows processed at a time, so that the memory for intermediate values does not grow with the table."""
NO_IMAGE = -1
"""In a table's column `image`: the row's image cannot be read."""
COLUMNS = ["id", "label", "group", "image"]


class ImagePaths(Sequence[Path]):
    """The paths of many images, at about 20 bytes each; a `Path` takes 300. Slices and selections are ImagePaths.

    The item is None if the row has no image.
    """

    def __init__(self, folders: list[str], folder_of: NDArray[np.int32], names: NDArray[np.bytes_]) -> None:
        self.folders, self.folder_of, self.names = folders, folder_of, names

    @classmethod
    def of(cls, paths: Iterable[Path | str], root: Path | None = None) -> "ImagePaths":
        """Paths, relative to `root` if it is given."""
        number_of: dict[str, int] = {}
        folder_of, names = array("i"), [np.empty(0, "S1")]
        remaining = iter(paths)
        while chunk := list(islice(remaining, _CHUNK)):
            parts = [_split(path) for path in chunk]
            folder_of.extend(number_of.setdefault(folder, len(number_of)) for folder, _ in parts)
            names.append(np.array([os.fsencode(name) for _, name in parts]))
        folders = [str(Path(folder) if root is None else root / folder) for folder in number_of]
        return cls(folders, np.array(folder_of, np.int32), np.concatenate(names))

    @classmethod
    def join(cls, parts: Sequence["ImagePaths"]) -> "ImagePaths":
        """The paths of all parts, one part after the other."""
        first = np.cumsum([0, *(len(part.folders) for part in parts)])
        folder_of = [part.folder_of + shift for part, shift in zip(parts, first[:-1], strict=True)]
        return cls(
            [folder for part in parts for folder in part.folders],
            np.concatenate(folder_of).astype(np.int32),
            np.concatenate([part.names for part in parts]),
        )

    def take(self, positions: NDArray[np.integer[Any]]) -> "ImagePaths":
        """The paths at these positions, None for NO_IMAGE."""
        folder_of = np.where(positions == NO_IMAGE, NO_IMAGE, self.folder_of[positions]) if len(self) else positions
        return ImagePaths(self.folders, folder_of.astype(np.int32), self.names[positions])

    @property
    def missing(self) -> NDArray[np.bool_]:
        """True where there is no image."""
        return np.asarray(self.folder_of == NO_IMAGE)

    def text(self, position: int) -> str:
        """The path as text, which system calls take too: creating a Path takes several times as long."""
        name = self.names[position].decode("utf-8", "surrogateescape")
        return f"{self.folders[self.folder_of[position]]}{os.sep}{name}"

    def by_folder(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Each folder with the positions of its images."""
        order = np.argsort(self.folder_of, kind="stable")
        for positions in np.split(order, np.flatnonzero(np.diff(self.folder_of[order])) + 1):
            if len(positions):
                yield self.folders[self.folder_of[positions[0]]], positions

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, item: Any) -> Any:
        if not isinstance(item, int | np.integer):
            return ImagePaths(self.folders, self.folder_of[item], self.names[item])
        if self.folder_of[item] == NO_IMAGE:
            return None
        return Path(self.folders[self.folder_of[item]], os.fsdecode(self.names[item]))


def _split(path: Path | str) -> tuple[str, str]:
    folder, name = os.path.split(path)
    return os.path.split(Path(path)) if name in ("", ".", "..") else (folder, name)


def path_text(paths: Sequence[Path], position: int) -> str:
    return paths.text(position) if isinstance(paths, ImagePaths) else str(paths[position])


@dataclass(frozen=True)
class CompetitionRows:
    """`train` and `extra` have the columns id, label, group and image; `test` has id and image.

    `image` is the position of the row's image in `paths`, which contains those of the training, extra and test
    rows; the other columns are text. Labels and groups are categories, so that a row takes little memory.
    """

    folder: Path
    train: pd.DataFrame
    extra: pd.DataFrame
    test: pd.DataFrame
    paths: ImagePaths

    def paths_of(self, *tables: pd.DataFrame) -> ImagePaths:
        """The images of these tables' rows, one table after the other."""
        return self.paths.take(np.concatenate([table["image"].to_numpy() for table in tables]))

    @cached_property
    def digest(self) -> str:
        """Changes with every row, label and group, but not with the folder. The catalogue has digests of the images."""
        labelled = (table[name] for table in (self.train, self.extra) for name in ("id", "label", "group"))
        return digest_of_columns([*labelled, self.test["id"]])


def read_rows(competition: Competition, folder: Path) -> CompetitionRows:
    """Read the tables and find every image. One error names all images that are missing."""
    roots = _roots(competition, folder)
    train = _training_rows(competition.train, competition, folder, roots)
    extra = read_extra(competition, folder)
    test = _test_rows(competition, folder, roots)
    tables = [train[0], *(table for table, _ in extra), test[0]]
    paths = ImagePaths.join([train[1], *(paths for _, paths in extra), test[1]])
    first = 0
    for table in tables:
        table["image"] = np.arange(first, first + len(table), dtype=np.int32)
        first += len(table)
    joined = pd.concat(tables[1:-1], ignore_index=True) if extra else train[0].iloc[:0]
    return CompetitionRows(folder, train[0][COLUMNS], joined[COLUMNS], test[0], paths)


def read_extra(competition: Competition, folder: Path) -> list[tuple[pd.DataFrame, ImagePaths]]:
    """The rows of each extra source, and their images."""
    return [_extra_rows(source, competition, folder) for source in competition.extra]


def drop_unreadable(rows: CompetitionRows, readable: NDArray[np.bool_], on_bad_image: str) -> CompetitionRows:
    """The rows whose images are `readable`; or, with `on_bad_image: error`, an error that lists the others.

    Test rows are kept, since each of them needs a prediction: their `image` becomes NO_IMAGE.
    """
    bad = np.flatnonzero(~readable)
    if not len(bad):
        return rows
    if on_bad_image == "error":
        names = ", ".join(rows.paths.text(position) for position in bad)
        raise DataError(
            f"{len(bad)} images cannot be read: {names}; replace them, or leave them out with on_bad_image: skip in"
            " the competition file"
        )
    train, extra = (
        table[readable[table["image"].to_numpy()]].reset_index(drop=True) for table in (rows.train, rows.extra)
    )
    lost = set(rows.train["label"]) - set(train["label"])
    if lost:
        raise DataError(f"no readable image left for the class {', '.join(sorted(lost))}; replace some of them")
    image = rows.test["image"].to_numpy()
    test = rows.test.assign(image=np.where(readable[image], image, NO_IMAGE).astype(np.int32))
    return CompetitionRows(rows.folder, train, extra, test, rows.paths)


def digest_of_columns(columns: Iterable["pd.Series[Any]"], *more: Any) -> str:
    """The digest of all values of these text columns and of the additional values."""
    digest = hashlib.sha256()
    for column in columns:
        digest.update(f"{len(column)}\n".encode())
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


def _roots(competition: Competition, folder: Path) -> list[Path]:
    """Where to look for images: the data folder, and if needed the folders its zips are unpacked to."""
    fixed = [_fixed_part(pattern) for pattern in (competition.train.images, competition.test.images)]
    if all(part != Path() and (folder / part).is_dir() for part in fixed):
        return [folder]
    roots = [folder]
    for name in competition.zips:
        archive = folder / name
        if archive.is_file():
            status = archive.stat()
            digest = digest_of([str(archive.resolve()), status.st_size, status.st_mtime_ns])
            roots.append(unpack(archive, cache_folder() / "unpacked" / f"{competition.slug}-{archive.stem}-{digest}"))
    return roots


def _fixed_part(pattern: str) -> Path:
    """The folders of a pattern before its first field."""
    before = pattern.split("{", 1)[0]
    return Path(before) if before.endswith("/") else Path(before).parent


def _training_rows(
    source: TrainSource, competition: Competition, folder: Path, roots: Sequence[Path]
) -> tuple[pd.DataFrame, ImagePaths]:
    if source.table is None:
        rows, paths = _rows_from_folders(source, competition, _root_of(source.images, roots))
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
    table = read_table(path, [source.id, source.label, *([source.group] if source.group else [])])
    rows = pd.DataFrame({"id": table[source.id], "label": table[source.label]})
    rows["group"] = pd.Categorical(table[source.group] if source.group else [""] * len(rows))
    _check_ids(rows, path)
    _check_labels(rows, path, competition)
    files = (source.images.format(id=id_, label=label) for id_, label in zip(rows["id"], rows["label"], strict=True))
    paths = _find_images(files, source.images, roots, path)
    rows["label"] = pd.Categorical(rows["label"], categories=competition.labels)
    return rows, paths


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
        found = [name for name in _files_in(parent) if name.startswith(start) and name.endswith(after)]
        # Several folders may contain the same file name, so the id includes the label.
        ids += [f"{label}/{name[len(start) : len(name) - len(after)]}" for name in found]
        files += [f"{parent}/{name}" for name in found]
        counts.append(len(found))
    labels = pd.Categorical.from_codes(np.repeat(np.arange(len(counts)), counts).tolist(), pd.Index(competition.labels))
    groups = pd.Categorical([""] * len(ids))
    return pd.DataFrame({"id": ids, "label": labels, "group": groups}), ImagePaths.of(files)


def _files_in(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())


def _test_rows(competition: Competition, folder: Path, roots: Sequence[Path]) -> tuple[pd.DataFrame, ImagePaths]:
    sample = folder / competition.submission.sample
    ids = read_table(sample, [competition.submission.id])[competition.submission.id]
    rows = pd.DataFrame({"id": ids})
    _check_ids(rows, sample)
    pattern = competition.test.images
    return rows, _find_images((pattern.format(id=id_) for id_ in ids), pattern, roots, sample)


def _find_images(files: Iterator[str], pattern: str, roots: Sequence[Path], table: Path) -> ImagePaths:
    """The images of a table, under the root that has them. One error names all that are missing."""
    example = next(files, None)
    root = _root_of(pattern, roots, example)
    paths = ImagePaths.of(files if example is None else chain([example], files), root)
    missing: list[int] = []
    for folder, positions in paths.by_folder():
        present = _names_in(Path(folder))
        is_missing = [name not in present for name in paths.names[positions].tolist()]
        missing += positions[is_missing].tolist()
    if missing:
        names = [paths.text(position) for position in sorted(missing)]
        raise DataError(f"{len(missing)} images listed in {table} do not exist: {_some(names)}")
    return paths


def _names_in(folder: Path) -> set[bytes]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {os.fsencode(entry.name) for entry in entries}


def _root_of(pattern: str, roots: Sequence[Path], example: str | None = None) -> Path:
    """The root that has the example's image, else the first that has the pattern's folder."""
    for root in roots:
        if example and (root / example).is_file():
            return root
    for root in roots:
        if (root / _fixed_part(pattern)).is_dir():
            return root
    raise DataError(
        f"no folder {_fixed_part(pattern)} for the images {pattern}: looked in {', '.join(map(str, roots))};"
        " give the competition's data folder with --data, or list its zips in the competition file"
    )


def _check_labels(rows: pd.DataFrame, table: Path, competition: Competition) -> None:
    unknown = sorted(set(rows["label"]) - set(competition.labels))
    if unknown:
        raise DataError(
            f"{table} has labels that are not classes of the competition file: {_some(unknown)};"
            f" expected {_some(competition.labels)}"
        )


def _check_ids(rows: pd.DataFrame, table: Path) -> None:
    # Indexing the array: filtering the Series would cache its row labels permanently.
    duplicates = sorted(set(rows["id"].to_numpy()[rows["id"].duplicated().to_numpy()]))
    if duplicates:
        raise DataError(f"{table} has duplicate ids: {_some(duplicates)}; expected one row per image")
    empty = int((rows["id"] == "").sum())
    if empty:
        raise DataError(f"{table} has {empty} rows without an id; add the ids or remove these rows")
    # Only an id with one of these characters can leave the folder; PureWindowsPath is slow.
    suspicious = [id_ for id_ in rows["id"] if ".." in id_ or ":" in id_ or id_[0] in "/\\"]
    outside = [id_ for id_ in suspicious if PureWindowsPath(id_).anchor or ".." in PureWindowsPath(id_).parts]
    if outside:
        raise DataError(
            f"{table} has ids that lead outside the data folder: {_some(outside)}; download it again from its source"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def class_indices(labels: Iterable[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Labels as the indices of the model's outputs."""
    index_of = {label: index for index, label in enumerate(classes)}
    return np.array([index_of[label] for label in labels], dtype=np.int64)
