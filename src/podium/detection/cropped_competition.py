"""The competition that cropping makes of another: what its images and tables are called, and its competition file."""

import copy
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from podium.config.competition import Competition, TableFolds, TestSource, TrainSource
from podium.config.yaml_file import to_yaml
from podium.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from podium.data.table import CompetitionRows

MARK = "# Written by podium detect crop"
"""How its competition files begin: those it may write anew."""


@dataclass(frozen=True)
class Wanted:
    """An image of the new competition; several rows may share it."""

    id: str
    """Of its first row."""
    path: Path
    """Of the image it is made of."""
    file: str
    """Seen from the new folder."""


@dataclass(frozen=True)
class NewCompetition:
    slug: str
    images: list[Wanted]
    tables: dict[str, Path]
    """By their names in the new folder, the tables to be copied."""
    content: dict[str, Any]
    """Of its competition file."""


def new_competition(
    competition: Competition, content: Mapping[str, Any], folder: Path, rows: "CompetitionRows", made: str
) -> NewCompetition:
    """`content` is that of the competition's file, `folder` has its data, and `made` is what becomes of an image."""
    from podium.data.table import read_extra

    new = copy.deepcopy(dict(content))
    for key in ("zips", "data_at_kaggle"):  # of the other images
        new.pop(key, None)
    slug = f"{competition.slug}-{made}"
    new["slug"], new["title"] = slug, f"{competition.title or competition.slug}, {made}"
    tables: dict[str, Path] = {}
    wanted = [
        *_of_source(competition.train, rows.train, rows.paths_of(rows.train)),
        *_of_source(competition.test, rows.test, rows.paths_of(rows.test)),
    ]
    places = _extra_places([source.folder for source in competition.extra])
    extra = zip(competition.extra, places, read_extra(competition, folder), strict=True)
    for number, (source, place, (table, paths)) in enumerate(extra):
        new["extra"][number]["folder"] = place
        for one in _of_source(source, table, paths):
            wanted.append(Wanted(one.id, one.path, posixpath.normpath(f"{place}/{one.file}")))
        if source.table is not None:
            new["extra"][number]["table"] = _copy_of(source.table, folder / source.folder, tables, place)
    if competition.train.table is not None:
        new["train"]["table"] = _copy_of(competition.train.table, folder, tables)
    sample = _copy_of(competition.submission.sample, folder, tables)
    if sample != competition.submission.sample:
        new["submission"]["sample"] = sample
    if isinstance(competition.folds, TableFolds):
        new["folds"]["path"] = _copy_of(competition.folds.path, folder, tables)
    return NewCompetition(slug, _each_once(wanted), tables, new)


def competition_text(new: NewCompetition, original: Path, told: str, commands: Sequence[str]) -> str:
    """The competition file, with what it needs in its heading."""
    heading = [f"{MARK} from {original.as_posix()}: {told}.", *(f"#   {command}" for command in commands)]
    return "\n".join([*heading, to_yaml(new.content)])


def _of_source(source: TrainSource | TestSource, rows: "pd.DataFrame", paths: Iterable[Path]) -> Iterator[Wanted]:
    labels = rows["label"] if isinstance(source, TrainSource) else [""] * len(rows)
    from_folders = isinstance(source, TrainSource) and source.table is None
    for name, label, path in zip(rows["id"], labels, paths, strict=True):
        id_ = name.removeprefix(f"{label}/") if from_folders else name  # which there is the class's folder
        yield Wanted(name, path, posixpath.normpath(source.images.format(id=id_, label=label)))


def _extra_places(folders: Sequence[str]) -> list[str]:
    """Where each source comes to lie: where it lay, or under a name of its own if that was elsewhere."""
    places = [posixpath.normpath(folder) for folder in folders]
    for number, place in enumerate(places):
        if not _is_inside(place):
            places[number] = next(
                name for name in (f"extra-{more}" for more in range(1, len(places) + 2)) if name not in places
            )
    return places


def _copy_of(table: str, folder: Path, tables: dict[str, Path], place: str = ".") -> str:
    """What a table is called in the new competition: as before where it lay within the data folder."""
    name = posixpath.normpath(table) if _is_inside(posixpath.normpath(table)) else PurePosixPath(table).name
    file = posixpath.normpath(f"{place}/{name}")
    if not (folder / table).is_file():
        raise DataError(f"{folder / table} is not there; the competition file names it: put it back")
    if tables.setdefault(file, folder / table) != folder / table:
        raise DataError(f"two tables would be called {file} ({tables[file]}, {folder / table}): rename one of them")
    return name


def _is_inside(place: str) -> bool:
    return not posixpath.isabs(place) and not os.path.isabs(place) and place.split("/")[0] != ".."  # noqa: PTH117


def _each_once(wanted: Sequence[Wanted]) -> list[Wanted]:
    found: dict[str, Wanted] = {}
    for one in wanted:
        if found.setdefault(one.file, one).path != one.path:
            raise DataError(
                f"two images would be called {one.file} ({found[one.file].path}, {one.path}): give the competition"
                " file patterns that keep them apart"
            )
    return list(found.values())
