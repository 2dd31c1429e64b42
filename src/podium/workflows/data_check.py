"""`podium data check`: what is wrong or unusual in the data of a competition, or in a folder of images.

runs/data-check/<slug>/
  index.html                  what was found, with images
  findings.csv                kind, group, part, id, label, file and detail of everything that was found
"""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from podium.config.competition import Competition
from podium.data.classes import with_classes
from podium.data.drift import Drift, measure_drift
from podium.data.duplicates import duplicate_groups
from podium.data.find_images import files_below, is_image
from podium.data.folds import make_folds
from podium.data.image_paths import ImagePaths
from podium.data.metadata import with_categories
from podium.data.quality import DAMAGED, Measure, Measurements, measure_files, measure_here
from podium.data.table import CompetitionRows, read_rows
from podium.data.target import LABEL
from podium.data.targets import target_of
from podium.data.unlabelled import UnlabelledImages, find_test_set
from podium.data.unusual import IMAGE_KINDS, find_unusual
from podium.errors import DataError, RowsError
from podium.files import write_table
from podium.options import RunOptions
from podium.paths import data_folder, sample_file
from podium.reports.data_page import Item, Section, write_data_page

TRAIN, TEST, EXTRA, FOLDER = "training", "test", "extra", "folder"
OTHER_KINDS = {
    "rows": ("rows that cannot be used", "correct the table or the files"),
    "unused": ("images that are in no table", "see whether a table lacks them"),
    "labels": ("images with copies of another label", "find the right label; list the others in ignore"),
    "test_copies": ("test images with a copy in the training images", "their label is known; scores here are too good"),
    "leaks": ("training images with a copy in another fold", "keep copies in one fold, so that estimates stay honest"),
    "copies": ("images with a copy", "keep copies in one fold"),
    "few": ("classes with few training images", "draw them more often (sampling), or find more images (extra)"),
    "drift": ("test images unlike the training images", "see what differs; augment towards it"),
}
"""What is found by comparing: title and advice."""
_FEW = 10
"""A class with fewer training images is reported."""
_DRIFTED, _LIKELY = 0.65, 0.9
"""The AUC from which a drift is reported, and the probability from which a test image is listed for it."""


@dataclass(frozen=True)
class Check:
    """What was found in the data of a competition or in a folder."""

    slug: str
    title: str
    counts: dict[str, int]
    """Images of each part."""
    findings: dict[str, list[Item]]
    classes: dict[str, int]
    """The training images of each class; empty for other targets."""
    drift: Drift | None
    paths: ImagePaths
    groups: dict[str, int]
    """The group of each training row that has a copy among the training rows."""
    ignored: list[str] = field(default_factory=list)
    """The rows that the competition file leaves out already."""

    @property
    def sections(self) -> list[Section]:
        """What was found, the most serious first."""
        known = OTHER_KINDS | {
            name: (f"images that are {kind.title}", kind.advice) for name, kind in IMAGE_KINDS.items()
        }
        return [
            Section(name, title, advice, self.findings[name])
            for name, (title, advice) in known.items()
            if name in self.findings
        ]

    @property
    def count_text(self) -> str:
        if FOLDER in self.counts:
            return f"{self.counts[FOLDER]:,} images"
        return ", ".join(f"{count:,} {part} images" for part, count in self.counts.items())

    def describe_drift(self) -> str:
        if self.drift is None:
            return "too few images to compare training and test images"
        how = "they look alike" if self.drift.auc < _DRIFTED else "they differ"
        return (
            f"a classifier that sees the size, light and colours of an image recognizes test images with an"
            f" AUC of {self.drift.auc:.3f} (0.5: not at all, 1: always): {how}"
        )

    def to_dict(self) -> dict[str, Any]:
        items = {name: [_public(item) for item in found] for name, found in self.findings.items()}
        auc = None if self.drift is None else round(self.drift.auc, 4)
        return {
            "competition": self.slug, "images": self.counts, "classes": self.classes, "drift_auc": auc,
            "findings": items,
        }  # fmt: skip


def _public(item: Item) -> dict[str, Any]:
    return {name: value for name, value in asdict(item).items() if name != "position" and value not in ("", None)}


def check_data(
    competition: Competition, options: RunOptions, console: Console | None = None, measure: Measure = measure_here
) -> Check:
    """Look at the tables and at every image."""
    folder = data_folder(competition.slug, options.data, competition.kaggle_source)
    competition = with_classes(competition, folder)
    problems: list[Item] = []
    with tempfile.TemporaryDirectory() as temporary:
        rows = _read_usable(
            lambda table: read_rows(_with_table(competition, table), folder),
            folder / (competition.train.table or ""), competition.train.id, TRAIN, problems, Path(temporary),
        )  # fmt: skip
        sample = sample_file(folder, competition.submission.sample)
        test = UnlabelledImages([], rows.paths[:0])
        if sample.is_file():
            test = _read_usable(
                lambda table: find_test_set(_with_sample(competition, table), folder),
                sample, competition.submission.id, TEST, problems, Path(temporary),
            )  # fmt: skip
    competition = with_categories(competition, [rows.train, rows.extra])
    images = _Images.of(rows, test, competition)
    measured = measure_files(images.paths, competition.slug, console, measure)
    findings = {"rows": problems, "unused": [Item("", "", file=file) for file in (*rows.unused, *test.unused)]}
    findings |= _unusual(images, measured)
    classes = _class_counts(rows, competition)
    findings["few"] = [Item(TRAIN, name, detail=f"{count} images") for name, count in classes.items() if count < _FEW]
    copies = duplicate_groups(measured)
    findings |= _compare_copies(images, copies, _folds_of(competition, rows, measured, options))
    drift = _find_drift(images, measured, findings)
    counts = {part: int((images.parts == part).sum()) for part in (TRAIN, EXTRA, TEST)}
    in_train = np.flatnonzero(images.parts == TRAIN)
    sizes = np.bincount(copies[in_train], minlength=len(copies))
    grouped = {str(images.ids[row]): int(copies[row]) for row in in_train if sizes[copies[row]] > 1}
    return Check(
        competition.slug,
        competition.title or competition.slug,
        {part: count for part, count in counts.items() if count},
        {name: found for name, found in findings.items() if found},
        classes,
        drift,
        images.paths,
        grouped,
        competition.ignore,
    )


def check_folder(folder: Path, console: Console | None = None, measure: Measure = measure_here) -> Check:
    """Look at every image in a folder and the folders below it."""
    names = [name for name in files_below(folder, "") if is_image(name)]
    if not names:
        raise DataError(f"{folder} has no image; expected files such as .jpg or .png, in it or in folders below it")
    blank = np.full(len(names), "", object)
    images = _Images(ImagePaths.of(names, folder), np.full(len(names), FOLDER), np.array(names, object), blank)
    measured = measure_files(images.paths, "folder", console, measure)
    findings = _unusual(images, measured) | _compare_copies(images, duplicate_groups(measured), None)
    found = {name: items for name, items in findings.items() if items}
    slug = folder.resolve().name
    return Check(slug, str(folder), {FOLDER: len(names)}, found, {}, None, images.paths, {})


def _unusual(images: "_Images", measured: Measurements) -> dict[str, list[Item]]:
    return {
        name: [images.item(int(row), IMAGE_KINDS[name].value(measured[row])) for row in positions]
        for name, positions in find_unusual(measured).items()
    }


Read = Callable[[Path], Any]


def _read_usable(read: Read, table: Path, id_column: str, part: str, problems: list[Item], temporary: Path) -> Any:
    """Read a table without the rows that cannot be used, which are added to the problems."""
    current, kept = table.resolve(), None
    while True:
        try:
            return read(current)
        except RowsError as error:
            if error.table != current:
                raise
            content = pd.read_csv(current, dtype=str, keep_default_na=False)
            kept = np.arange(len(content)) if kept is None else kept
            for row, text in error.rows.items():
                name = str(content[id_column][row]) if id_column in content else ""
                detail = f"line {kept[row] + 2}: {error.reason}" + (f": {text}" if text not in ("", name) else "")
                problems.append(Item(part, name, file=str(table), detail=detail))
            rest = np.setdiff1d(np.arange(len(content)), list(error.rows))
            if not len(rest):
                raise
            kept, current = kept[rest], temporary / f"{part}-{len(rest)}" / table.name
            current.parent.mkdir(exist_ok=True)
            content.iloc[rest].to_csv(current, index=False)


def _with_table(competition: Competition, table: Path) -> Competition:
    if competition.train.table is None:
        return competition
    train = competition.train.model_copy(update={"table": str(table.resolve())})
    return competition.model_copy(update={"train": train, "ignore": []})


def _with_sample(competition: Competition, sample: Path) -> Competition:
    submission = competition.submission.model_copy(update={"sample": str(sample.resolve())})
    return competition.model_copy(update={"submission": submission})


@dataclass(frozen=True)
class _Images:
    """The images of all parts, one part after the other."""

    paths: ImagePaths
    parts: NDArray[np.str_]
    ids: NDArray[np.object_]
    labels: NDArray[np.object_]
    """The label of each image as text, or its values; empty for test images."""

    @classmethod
    def of(cls, rows: CompetitionRows, test: UnlabelledImages, competition: Competition) -> "_Images":
        labels = [_labels_of(table, competition) for table in (rows.train, rows.extra)]
        counts = len(rows.train), len(rows.extra), len(test.ids)
        return cls(
            ImagePaths.join([rows.paths_of(rows.train, rows.extra), test.paths]),
            np.repeat([TRAIN, EXTRA, TEST], counts),
            np.concatenate(
                [rows.train["id"].to_numpy(object), rows.extra["id"].to_numpy(object), np.array(test.ids, object)]
            ),
            np.concatenate([*labels, np.full(counts[2], "", object)]),
        )

    def item(self, row: int, detail: str = "", group: int | None = None) -> Item:
        return Item(
            str(self.parts[row]), str(self.ids[row]), str(self.labels[row]), self.paths.text(row), detail, group, row
        )


def _labels_of(table: pd.DataFrame, competition: Competition) -> NDArray[np.object_]:
    if LABEL in table:
        return table[LABEL].astype(str).replace(competition.classes).to_numpy(object)
    rows = table[target_of(competition).columns].astype(str).to_numpy(object)
    return np.array([", ".join(row) for row in rows], object)


def _folds_of(
    competition: Competition, rows: CompetitionRows, measured: Measurements, options: RunOptions
) -> NDArray[np.str_] | None:
    """The fold of each training row with a readable image, if they can be split."""
    readable = measured["flags"][: len(rows.train)] & DAMAGED == 0
    used = replace(rows, train=rows.train[readable].reset_index(drop=True))
    try:
        folds = make_folds(competition, used, options.runs)
    except DataError:
        return None
    of_row = np.full(len(readable), "", folds.of_row.dtype)
    of_row[readable] = folds.of_row
    return of_row


def _compare_copies(
    images: _Images, groups: NDArray[np.int64], folds: NDArray[np.str_] | None
) -> dict[str, list[Item]]:
    """The images that show the same as another one. Each is reported for the worst that follows from it."""
    found: dict[str, list[Item]] = {"labels": [], "test_copies": [], "leaks": [], "copies": []}
    order = np.argsort(groups, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if len(rows) < 2:
            continue
        parts = images.parts[rows]
        labelled, test = rows[parts != TEST], rows[parts == TEST]
        items = [images.item(int(row), group=int(groups[rows[0]])) for row in rows]
        if len(set(images.labels[labelled])) > 1:
            found["labels"] += items
        elif len(labelled) and len(test):
            found["test_copies"] += items
        elif len(labelled) > 1:
            trained = labelled[images.parts[labelled] == TRAIN]
            apart = folds is not None and len(set(folds[trained])) > 1
            found["leaks" if apart else "copies"] += items
    return found


def _find_drift(images: _Images, measured: Measurements, findings: dict[str, list[Item]]) -> Drift | None:
    readable = measured["flags"] & DAMAGED == 0
    train, test = (np.flatnonzero(readable & (images.parts == part)) for part in (TRAIN, TEST))
    drift = measure_drift(measured[train], measured[test])
    if drift and drift.auc >= _DRIFTED:
        likely = np.flatnonzero(np.nan_to_num(drift.likely_test) >= _LIKELY)
        likely = likely[np.argsort(-drift.likely_test[likely], kind="stable")]
        findings["drift"] = [images.item(int(test[row]), f"probability {drift.likely_test[row]:.2f}") for row in likely]
    return drift


def _class_counts(rows: CompetitionRows, competition: Competition) -> dict[str, int]:
    if LABEL not in rows.train:
        return {}
    names = competition.classes
    return {names.get(str(label), str(label)): int(count) for label, count in rows.train[LABEL].value_counts().items()}


def write_findings(check: Check, runs: Path) -> Path:
    """Write the table and the page. Returns the page."""

    folder = runs / "data-check" / check.slug
    columns = ("kind", "group", "part", "id", "label", "file", "detail")
    lines = [{"kind": name, **_public(item)} for name, items in check.findings.items() for item in items]
    write_table(folder / "findings.csv", columns, ({name: line.get(name, "") for name in columns} for line in lines))
    page = folder / "index.html"
    write_data_page(
        page, check.title, check.count_text, check.sections, check.classes,
        check.describe_drift() if TRAIN in check.counts else "", check.paths,
    )  # fmt: skip
    return page
