"""The rows that a member trains on beside those of the competition, from tables and folders of images."""

import glob
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from podium.config.competition import Competition
from podium.config.extra import Extra
from podium.config.kaggle_names import KaggleSource
from podium.config.patterns import Pattern
from podium.config.reading import Reading
from podium.data.catalogue import read_catalogue
from podium.data.find_images import find_images, image_roots, is_image_name, is_system_file
from podium.data.image_cache import Digests
from podium.data.image_paths import ImagePaths
from podium.data.labelled import LabelledImages, soft_labelled, weights_of
from podium.data.metadata import Metadata
from podium.data.table import check_ids, check_readable, files_of, other_fields, read_table, rows_from_table
from podium.data.target import Floats, Target
from podium.data.targets import invalid_values, target_of
from podium.errors import DataError, listed
from podium.files import columns_of
from podium.paths import kaggle_places

_PREFIX = "p_"
"""Before the name of an output, in the columns of soft labels."""


def read_extra(
    source: Extra, competition: Competition, folder: Path, metadata: Metadata | None = None
) -> LabelledImages:
    """The rows of a source; `folder` is the competition's data. Metadata that its table lacks is missing."""
    assert source.images is not None
    target, root = target_of(competition), _root(source.images, folder)
    images = _below_root(source.images)
    if source.label is not None:
        paths = _matching(root, images, competition.reading)
        truth = np.repeat(_truth_of(source.label, target, competition, source.images), len(paths), axis=0)
        return LabelledImages(paths, truth, None, weights_of(len(paths), source.weight))
    assert source.table is not None
    table = _root(source.table, folder) / _below_root(source.table)
    if not table.is_file():
        raise DataError(f"extra: the table {table} does not exist; correct its path in the member file")
    pattern = competition.pattern_of(images)
    roots = image_roots(competition, root, pattern)
    if _PREFIX + target.outputs[0] in columns_of(table):
        paths, labels = _soft_rows(table, pattern, roots, competition, target)
        return soft_labelled(target, paths, labels, source.weight)
    columns = competition.train.model_copy(update={"images": images, "group": None})
    rows = rows_from_table(columns, competition, table, roots)
    truth = target.truth(rows.table)
    paths, weights = rows.images.paths, weights_of(len(truth), source.weight)
    return LabelledImages(paths, truth, None, weights, metadata.encode(rows.table) if metadata else None)


def check_images(images: LabelledImages, own: Digests, competition: Competition) -> tuple[LabelledImages, str]:
    """The readable images, and a digest of their bytes. `own` are the digests of the competition's labelled images."""
    assert isinstance(images.paths, ImagePaths)
    known = read_catalogue(images.paths, competition.slug)
    check_readable(images.paths, known.readable, competition)
    repeated = np.flatnonzero(known.readable & np.isin(known.digests, own))
    if len(repeated):
        files = listed([images.paths.text(row) for row in repeated])
        raise DataError(
            f"extra: {len(repeated):,} images are also labelled images of the competition, on which folds validate:"
            f" {files}; remove them from the extra rows"
        )
    return images if known.readable.all() else images.take(np.flatnonzero(known.readable)), known.digest


def kaggle_folder(text: str) -> Path | None:
    """Where Kaggle mounts the source that a value refers to; None if it does not refer to Kaggle."""
    source = KaggleSource.parse(text)
    if source is None:
        return None
    places = kaggle_places(source.kind, source.name)
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise DataError(
            f"{text} is not mounted: looked for {' and '.join(map(str, places))}; push to Kaggle, where it is"
            " attached, or name a local copy with --set"
        )
    return found


def _root(text: str, folder: Path) -> Path:
    return kaggle_folder(text) or folder


def _below_root(text: str) -> str:
    source = KaggleSource.parse(text)
    return source.path if source else text


def _matching(root: Path, pattern: str, reading: Reading) -> ImagePaths:
    """The images that match a pattern with `*`; where each channel is a file, those of the first."""
    found = sorted(glob.glob(pattern, root_dir=root, recursive=True))  # noqa: PTH207  # an absolute pattern is allowed
    first = reading.files[:1] or ("",)
    files = [name for name in found if (root / name).is_file() and is_image_name(name)]
    files = [name for name in files if Path(name).stem.endswith(first)]
    if not (files := [name for name in files if not is_system_file(Path(name).name)]):
        raise DataError(f"extra: no image matches {root / pattern}; expected a pattern such as outside/audi/*.jpg")
    return ImagePaths.of(files, root).read_as(reading)


def _truth_of(label: str, target: Target, competition: Competition, place: str) -> Floats:
    """The truth of one row with this label."""
    columns = target.source_columns(competition.train)
    texts = [label] if competition.has_label_column else [str(int(name == label)) for name in columns]
    if not competition.has_label_column and label not in columns:
        raise DataError(f"extra: {label!r} of {place} is not a class; expected one of {listed(columns)}")
    table = pd.DataFrame([texts], columns=columns)
    return np.asarray(target.truth(target.parse(table, competition.train, Path(place))))


def _soft_rows(
    path: Path, pattern: Pattern, roots: Sequence[Path], competition: Competition, target: Target
) -> tuple[ImagePaths, Floats]:
    columns = [_PREFIX + name for name in target.outputs]
    ids = "id" if "id" in columns_of(path) else competition.train.id
    if "label" in pattern.fields:
        raise DataError(f"extra: {path} has soft labels, so {pattern.text} cannot have {{label}}: use {{id}}")
    table = read_table(path, [ids, *columns, *other_fields(pattern)])
    check_ids(table[ids], path)
    numbers = np.column_stack([pd.to_numeric(table[name], errors="coerce") for name in columns])
    wrong, expected = ~np.isfinite(numbers), "a number"
    if target.kind != "regression":
        wrong, expected = wrong | ~((numbers >= 0) & (numbers <= 1)), "a probability from 0 to 1"
    if problems := invalid_values(table[columns], wrong, expected):
        raise DataError(f"{path} has {'; '.join(problems)}")
    files = files_of(pattern, {**dict(table.items()), "id": table[ids]}, path)
    found = find_images(files, pattern, roots, path, competition.reading)
    return found.paths, target.normalize(numbers)
