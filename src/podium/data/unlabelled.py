"""Images to predict: those of a competition's test set, of a folder, or of a table."""

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from podium.config.competition import Competition
from podium.data.catalogue import read_catalogue
from podium.data.find_images import find_images, image_roots
from podium.data.image_paths import NO_IMAGE, ImagePaths
from podium.data.table import check_ids, check_readable, digest_of_columns, read_table
from podium.errors import DataError, listed

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
PATH = "path"
"""The column of a table with the images' paths, relative to the table."""


@dataclass(frozen=True)
class UnlabelledImages:
    ids: list[str]
    paths: ImagePaths
    """None where the image cannot be read."""
    contents: str = ""
    """A digest of the bytes of all images."""

    @cached_property
    def digest(self) -> str:
        """Changes with every id and every byte, but not with the folder."""
        return digest_of_columns([pd.Series(self.ids, dtype=object)], self.contents)


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
    sample, pattern = folder / competition.submission.sample, competition.test.images
    ids = read_table(sample, [competition.submission.id])[competition.submission.id]
    check_ids(pd.DataFrame({"id": ids}), sample)
    roots = image_roots(competition, folder, pattern)
    return UnlabelledImages(ids.tolist(), find_images((pattern.format(id=id_) for id_ in ids), pattern, roots, sample))


def with_contents(
    images: UnlabelledImages, competition: Competition, console: Console | None = None
) -> UnlabelledImages:
    """The images with the digest of their bytes. Unreadable ones are kept, since each id needs a prediction; or, with
    `on_bad_image: error`, an error lists them."""
    known = read_catalogue(images.paths, competition.slug, console)
    check_readable(images.paths, known.readable, competition)
    paths = images.paths.take(np.where(known.readable, np.arange(len(images.paths)), NO_IMAGE))
    return replace(images, paths=paths, contents=known.digest)


def find_unlabelled(
    place: Path, competition: Competition, folder: Path | None = None, console: Console | None = None
) -> UnlabelledImages:
    """The images of a folder, whose ids are their file names, or of a table.

    A table has a column `path`, relative to the table, or ids for the pattern of the competition's test images. These
    are beside the table or in `folder`, the competition's data.
    """
    if place.is_dir():
        return _images_in(place, console)
    if not place.is_file():
        raise DataError(f"{place} does not exist; expected a folder of images, or a CSV file with their ids or paths")
    columns = _columns_of(place)
    known = (competition.submission.id, "id", PATH)
    id_column = next((name for name in known if name in columns), competition.submission.id)
    table = read_table(place, [id_column, *([PATH] if PATH in columns else [])])
    if PATH in columns:
        return UnlabelledImages(
            table[id_column].tolist(), find_images(iter(table[PATH]), "{path}", [place.parent], place)
        )
    check_ids(table.rename(columns={id_column: "id"}), place)
    pattern, roots = competition.test.images, [place.parent]
    if folder:
        roots += image_roots(competition, folder, pattern)
    files = (pattern.format(id=id_) for id_ in table[id_column])
    return UnlabelledImages(table[id_column].tolist(), find_images(files, pattern, roots, place))


def _columns_of(table: Path) -> list[str]:
    with table.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        return next(csv.reader(file), [])


def _images_in(folder: Path, console: Console | None) -> UnlabelledImages:
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    shown = [file for file in files if not any(part.startswith(".") for part in file.parts)]
    names = [file.as_posix() for file in shown if file.suffix.lower() in IMAGE_SUFFIXES]
    ignored = [file.as_posix() for file in shown if file.suffix.lower() not in IMAGE_SUFFIXES]
    if not names:
        raise DataError(f"{folder} has no image; expected files such as .jpg or .png, in it or in folders below it")
    if ignored and console:
        console.print(
            f"{folder}: ignored {len(ignored):,} files that are no images: {listed(ignored)}", highlight=False
        )
    return UnlabelledImages(names, ImagePaths.of(names, folder))
