"""The rows of a competition: which pictures there are, what they show, and where each lies."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

import pandas as pd

from podium.config.competition import Competition, ExtraSource, TrainSource
from podium.data.archives import unpack
from podium.errors import DataError
from podium.files import digest_of
from podium.paths import cache_folder


@dataclass(frozen=True)
class CompetitionRows:
    """`train` has the columns id, label, group, path; `extra` the same; `test` id and path. All text but path."""

    folder: Path
    train: pd.DataFrame
    extra: pd.DataFrame
    test: pd.DataFrame

    @property
    def digest(self) -> str:
        """Changes when a row, a label, a group or a picture's size in bytes does; not when the folder is elsewhere."""
        columns = ["id", "label", "group"]
        rows = [self.train[columns].values.tolist(), self.extra[columns].values.tolist(), list(self.test["id"])]
        sizes = [path.stat().st_size for table in (self.train, self.extra, self.test) for path in table["path"]]
        return digest_of([rows, sizes])


def read_rows(competition: Competition, folder: Path) -> CompetitionRows:
    """Read the tables and find every picture; all that is missing is told at once."""
    roots = _roots(competition, folder)
    train = _training_rows(competition.train, competition, folder, roots)
    extra = [_extra_rows(source, competition, folder) for source in competition.extra]
    test = _test_rows(competition, folder, roots)
    columns = ["id", "label", "group", "path"]
    frames = [rows[columns] for rows in extra]
    return CompetitionRows(
        folder, train[columns], pd.concat(frames, ignore_index=True) if frames else train.iloc[:0][columns], test
    )


def without(rows: CompetitionRows, bad: set[Path]) -> CompetitionRows:
    """The training rows without these pictures; test rows stay, since every one of them needs an answer."""
    return replace(
        rows,
        train=rows.train[~rows.train["path"].isin(bad)].reset_index(drop=True),
        extra=rows.extra[~rows.extra["path"].isin(bad)].reset_index(drop=True),
    )


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV as text: `007` stays `007`, and `NA` is a name like any other."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise DataError(f"{path} is not there; is {path.parent} the competition's data folder?") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a CSV: {str(error).strip()}") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas would take the first field for a row's name
        raise DataError(f"{path} has rows of more fields than its header; quote the fields that hold a comma")
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise DataError(
            f"{path} lacks the column {', '.join(absent)}: it has {', '.join(map(str, table.columns))};"
            " name its columns in the competition file"
        )
    return table


def _roots(competition: Competition, folder: Path) -> list[Path]:
    """Where pictures may lie: the data folder, then what its zips were unpacked to, if they are needed."""
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
    """The root that has the example's picture, else the first that has the pattern's folder."""
    for root in roots:
        if example and (root / pattern.format(**example)).is_file():
            return root
    for root in roots:
        if (root / _fixed_part(pattern)).is_dir():
            return root
    looked = ", ".join(str(root) for root in roots)
    raise DataError(
        f"no folder {_fixed_part(pattern)} for the pictures {pattern}: looked in {looked};"
        " give the competition's data folder with --data, or name its zips in the competition file"
    )


def _training_rows(source: TrainSource, competition: Competition, folder: Path, roots: Sequence[Path]) -> pd.DataFrame:
    if source.table is None:
        rows = _rows_from_folders(source, competition, _root_of(source.images, roots))
    else:
        wanted = [source.id, source.label, *([source.group] if source.group else [])]
        table = read_table(folder / source.table, wanted)
        rows = pd.DataFrame({"id": table[source.id], "label": table[source.label]})
        rows["group"] = table[source.group] if source.group else ""
        _check_ids(rows, folder / source.table)
        _check_labels(rows, folder / source.table, competition)
        root = _root_of(source.images, roots, **({"id": rows["id"][0], "label": rows["label"][0]} if len(rows) else {}))
        rows["path"] = [
            root / source.images.format(id=i, label=label) for i, label in zip(rows["id"], rows["label"], strict=True)
        ]
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
    """A row for every file where the pattern says that a class's pictures lie."""
    rows = []
    for label in competition.labels:
        before, _, after = source.images.format(id="\0", label=label).partition("\0")
        parent, start = (root / before, "") if before.endswith("/") else ((root / before).parent, Path(before).name)
        if not parent.is_dir():
            raise DataError(f"no folder {parent} for the class {label}; the competition file expects one per class")
        for path in sorted(parent.iterdir()):
            if (
                path.is_file()
                and not path.name.startswith(".")
                and path.name.startswith(start)
                and path.name.endswith(after)
            ):
                name = path.name[len(start) : len(path.name) - len(after)]
                # One file name may stand in several folders, so the id carries the label.
                rows.append({"id": f"{label}/{name}", "label": label, "group": "", "path": path})
    return pd.DataFrame(rows, columns=["id", "label", "group", "path"])


def _test_rows(competition: Competition, folder: Path, roots: Sequence[Path]) -> pd.DataFrame:
    sample = folder / competition.submission.sample
    ids = read_table(sample, [competition.submission.id])[competition.submission.id]
    rows = pd.DataFrame({"id": ids})
    _check_ids(rows, sample)
    root = _root_of(competition.test.images, roots, **({"id": ids[0]} if len(ids) else {}))
    rows["path"] = [root / competition.test.images.format(id=name) for name in ids]
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
    doubled = sorted(set(rows["id"][rows["id"].duplicated()]))
    if doubled:
        raise DataError(f"{table} holds ids more than once: {_some(doubled)}; each picture has one row")
    empty = int((rows["id"] == "").sum())
    if empty:
        raise DataError(f"{table} holds {empty} rows without an id; give each one, or remove these rows")
    strays = [name for name in rows["id"] if PureWindowsPath(name).anchor or ".." in PureWindowsPath(name).parts]
    if strays:
        raise DataError(f"{table} holds ids that lead out of the data folder: {_some(strays)}; get it from its source")


def _check_files(rows: pd.DataFrame, table: Path) -> None:
    present: dict[Path, set[str]] = {}

    def is_there(path: Path) -> bool:
        if path.parent not in present:
            present[path.parent] = {entry.name for entry in path.parent.iterdir()} if path.parent.is_dir() else set()
        return path.name in present[path.parent]

    missing = [str(path) for path in rows["path"] if not is_there(path)]
    if missing:
        raise DataError(f"{len(missing)} pictures that {table} names are not there: {_some(missing)}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
