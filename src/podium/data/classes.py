"""The classes of a competition whose file does not list them, read from its data."""

import math
from collections.abc import Iterable
from pathlib import Path

from podium.config.competition import Competition
from podium.config.target import SEPARATORS, MultiLabel
from podium.data.find_images import image_roots, images_of_classes, root_of
from podium.data.table import check_filled, other_folders, read_table
from podium.errors import ConfigError, DataError
from podium.files import columns_of
from podium.paths import sample_file


def with_classes(competition: Competition, folder: Path) -> Competition:
    """The competition with its classes; those that its file leaves out are read from the data, in sorted order."""
    if competition.has_classes:
        return competition
    labels = _sorted(_labels(competition, folder))
    if competition.target.kind == "ordinal" and not all(map(_is_number, labels)):
        raise DataError(
            f"the grades of {competition.slug} are text ({', '.join(labels[:10])}): list them as classes in the"
            " competition file, from the lowest to the highest"
        )
    try:
        return Competition(**{**competition.model_dump(by_alias=True, exclude_unset=True), "classes": labels})
    except ConfigError as error:
        raise DataError(
            f"the classes in the data of {competition.slug} do not fit the competition file: {error}; list them there"
        ) from None


def _labels(competition: Competition, folder: Path) -> Iterable[str]:
    """The labels of the training rows; if each class has a column, the columns of the sample submission."""
    source, target = competition.train, competition.target
    if source.table is None:
        pattern = competition.pattern_of(source.images)
        root = root_of(pattern, image_roots(competition, folder, pattern))
        return images_of_classes(pattern, None, root, other_folders(competition, root, pattern)).labels
    if not competition.has_label_column:
        sample = sample_file(folder, competition.submission.sample)
        if not sample.is_file():
            raise DataError(f"no {sample}, whose columns would be the classes: list them in the competition file")
        return [name for name in columns_of(sample) if name != competition.submission.id]
    labels = read_table(folder / source.table, [source.label])[source.label]
    if isinstance(target, MultiLabel):
        separator = SEPARATORS[target.separator or "space"]
        return {label.strip() for text in labels.unique() for label in text.split(separator) if label.strip()}
    check_filled(labels, f"a label in column {source.label}", folder / source.table)
    return set(labels)


def _sorted(labels: Iterable[str]) -> list[str]:
    """Numbers by their value, text alphabetically."""
    names = list(labels)
    return sorted(names, key=float) if all(map(_is_number, names)) else sorted(names)


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False
