"""Images to predict: those of a competition's test set, of a folder, or of a table."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from podium.config.competition import Competition
from podium.config.patterns import Pattern
from podium.data.catalogue import read_catalogue
from podium.data.find_images import (
    describe_unused,
    find_images,
    has_image_suffix,
    image_roots,
    is_system_file,
    unused_files,
)
from podium.data.image_paths import NO_IMAGE, ImagePaths
from podium.data.metadata import parse_metadata
from podium.data.table import check_ids, check_readable, digest_of_columns, files_of, other_fields, read_table
from podium.errors import DataError, listed
from podium.files import columns_of, with_lines
from podium.paths import sample_file

PATH = "path"
"""The column of a table with the images' paths, relative to the table."""


@dataclass(frozen=True)
class UnlabelledImages:
    ids: list[str]
    paths: ImagePaths
    """None where the image cannot be read."""
    contents: str = ""
    """A digest of the pixels of all images."""
    notes: Sequence[str] = ()
    """What a user should know about the search for images."""
    metadata: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The columns of metadata, a row for each image."""
    unused: Sequence[str] = ()
    """The images beside those of the test set that are not in it."""

    @cached_property
    def digest(self) -> str:
        """Changes with every id, every byte and the metadata, but not with the folder."""
        columns = [self.metadata[name] for name in self.metadata]
        return digest_of_columns([pd.Series(self.ids, dtype=object), *columns], self.contents)


def read_test_set(
    competition: Competition,
    folder: Path,
    console: Console | None = None,
    cache: Callable[[ImagePaths], None] = lambda paths: None,
) -> UnlabelledImages:
    """Find and check the images of the sample submission's ids, in its order. `cache` gets their paths first."""
    images = find_test_set(competition, folder)
    cache(images.paths)
    return with_contents(images, competition, console)


def find_test_set(competition: Competition, folder: Path) -> UnlabelledImages:
    """The images of the sample submission's ids. One error names all images that are missing."""
    source, form, pattern = competition.test, competition.submission, competition.pattern_of(competition.test.images)
    sample, fields = sample_file(folder, form.sample), other_fields(pattern)
    ids = read_table(sample, [form.id])[form.id]
    check_ids(ids, sample)
    place, id_column = (folder / source.table, source.id or form.id) if source.table else (sample, form.id)
    if not source.table and (absent := [name for name in competition.metadata if name not in columns_of(sample)]):
        raise DataError(
            f"{sample} has no column {', '.join(absent)} for the metadata of test images; expected a table that has it:"
            " add it to the competition file as test.table"
        )
    values, metadata = {"id": ids}, pd.DataFrame()
    if fields or competition.metadata:
        table = read_table(place, [id_column, *fields, *competition.metadata])
        rows = _rows_of(ids, sample, table[id_column], place)
        values |= {name: table[name].take(rows).reset_index(drop=True) for name in fields}
        metadata = parse_metadata(table, competition.metadata, place).take(rows).reset_index(drop=True)
    roots, train = image_roots(competition, folder, pattern), competition.pattern_of(competition.train.images)
    found = find_images(files_of(pattern, values, sample), pattern, roots, sample, competition.reading)
    unused = unused_files([found], [root / train.folder for root in roots])
    notes = found.notes + describe_unused(unused)
    return UnlabelledImages(ids.tolist(), found.paths, notes=notes, metadata=metadata, unused=unused)


def _rows_of(ids: "pd.Series[str]", sample: Path, found: "pd.Series[str]", table: Path) -> NDArray[np.int64]:
    """The rows of a table, which has the ids `found`, for the ids of the sample submission."""
    check_ids(found, table)
    rows = pd.Index(found).get_indexer(pd.Index(ids))
    absent = {row: ids.iloc[row] for row in np.flatnonzero(rows < 0).tolist()}
    if absent:
        raise DataError(f"{table} has no row for {len(absent):,} ids of {sample}: {with_lines(sample, absent)}")
    return np.asarray(rows, np.int64)


def with_contents(
    images: UnlabelledImages, competition: Competition, console: Console | None = None
) -> UnlabelledImages:
    """The images with the digest of their bytes. Unreadable ones are kept, since each id needs a prediction; or, with
    `on_bad_image: error`, an error lists them."""
    known = read_catalogue(images.paths, competition.slug, console)
    check_readable(images.paths, known.readable, competition)
    if console:
        for note in [*images.notes, *known.notes]:
            console.print(f"  {note}", highlight=False)
    paths = images.paths.take(np.where(known.readable, np.arange(len(images.paths)), NO_IMAGE))
    return replace(images, paths=paths, contents=known.digest)


def find_unlabelled(
    place: Path,
    competition: Competition,
    folder: Path | None = None,
    console: Console | None = None,
    metadata: Iterable[str] = (),
) -> UnlabelledImages:
    """The images of a folder, whose ids are their file names, or of a table.

    A table has a column `path`, relative to the table, or ids for the pattern of the competition's test images. These
    are beside the table or in `folder`, the competition's data. It also has these columns of metadata.
    """
    kinds = {name: competition.metadata[name] for name in metadata}
    if place.is_dir() and kinds:
        raise DataError(
            f"{place} is a folder, and the model takes metadata ({', '.join(kinds)}); expected a CSV file with these"
            f" columns and the paths of the images, in a column {PATH}"
        )
    if place.is_dir():
        if competition.reading.files:
            raise DataError(
                f"{place} is a folder, and the channels of an image are files of their own: give a CSV file with the"
                " ids, or with the path of the first channel's file of each image"
            )
        images = _images_in(place, console)
        return replace(images, paths=images.paths.read_as(competition.reading))
    if not place.is_file():
        raise DataError(f"{place} does not exist; expected a folder of images, or a CSV file with their ids or paths")
    columns = columns_of(place)
    known = (competition.submission.id, "id", PATH)
    id_column = next((name for name in known if name in columns), competition.submission.id)
    pattern = competition.pattern_of(competition.test.images)
    table = read_table(place, [id_column, *([PATH] if PATH in columns else other_fields(pattern)), *kinds])
    ids, roots = table[id_column], [place.parent]
    if PATH in columns:
        found = find_images(iter(table[PATH]), Pattern.of("{path}"), roots, place, competition.reading)
    else:
        check_ids(ids, place)
        roots += image_roots(competition, folder, pattern) if folder else []
        files = files_of(pattern, {**dict(table.items()), "id": ids}, place)
        found = find_images(files, pattern, roots, place, competition.reading)
    parsed = parse_metadata(table, kinds, place)
    return UnlabelledImages(ids.tolist(), found.paths, notes=found.notes, metadata=parsed)


def _images_in(folder: Path, console: Console | None) -> UnlabelledImages:
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    shown = [file for file in files if not is_system_file(file)]
    names, ignored = ([file for file in shown if has_image_suffix(file) == wanted] for wanted in (True, False))
    if not names:
        raise DataError(f"{folder} has no image; expected files such as .jpg or .png, in it or in folders below it")
    if ignored and console:
        console.print(
            f"{folder}: ignored {len(ignored):,} files that are no images: {listed(ignored)}", highlight=False
        )
    return UnlabelledImages(names, ImagePaths.of(names, folder))
