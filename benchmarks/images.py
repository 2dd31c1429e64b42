"""The images of all measurements: drawn cars at 640x480, and photographs if available.

They are created once in data/benchmarks/, in the layout of the competition that podium draws:

train.csv, train/<class>/<id>, test_upload/<id>, sample-submission.csv   for podium
split/training/<class>/<id>, split/validation/<class>/<id>               the same files, for tools that read folders
competition.yaml, folds.csv                                              the split, for podium
"""

import csv
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from podium.config.competition import Competition
from podium.config.loading import load_competition
from podium.demo.competition import draw_competition
from podium.paths import configs_folder

DRAWN_SIZE = (640, 480)
FEW = 200
"""The number of files that many rows are links to; file systems allow some 10,000 links to a file."""


@dataclass(frozen=True)
class Counts:
    training: int
    validation: int
    test: int


@dataclass(frozen=True)
class ImageSet:
    """Images of one source. `name` is its name in the tables."""

    name: str
    folder: Path
    counts: Counts

    @property
    def training(self) -> Path:
        return self.folder / "split" / "training"

    @property
    def validation(self) -> Path:
        return self.folder / "split" / "validation"

    @property
    def competition(self) -> Path:
        return self.folder / "competition.yaml"

    def read_into_page_cache(self) -> None:
        """Into the page cache, so that the disk does not matter."""
        for path in self.folder.rglob("*.jpg"):
            path.read_bytes()


@dataclass(frozen=True)
class Source:
    """A complete competition, from which image sets are taken."""

    name: str
    folder: Path
    competition: Competition

    def take(self, counts: Counts, root: Path) -> ImageSet:
        """Links to this many of its images, with balanced classes."""
        label = "-".join(str(count) for count in asdict(counts).values())
        taken = ImageSet(self.name, root / f"{self.folder.name}-{label}", counts)
        if not taken.competition.is_file():
            with tempfile.TemporaryDirectory(dir=root) as temporary:
                content = Path(temporary) / "content"
                _fill(content, self, counts)
                shutil.rmtree(taken.folder, ignore_errors=True)
                content.rename(taken.folder)
        return taken


def drawn(root: Path, train: int, test: int, size: tuple[int, int] | None = DRAWN_SIZE) -> Source:
    folder = root / f"{'drawn' if size else 'small'}-{train}-{test}"
    draw_competition(folder, train=train, test=test, size=size)
    competition = load_competition(configs_folder() / "competitions" / "podium-demo-cars.yaml")
    name = f"drawn {size[0]}x{size[1]}" if size else "drawn small"
    return Source(name, folder, competition)


def photographs(root: Path, data: Path, competition_file: Path) -> Source:
    """The data folder of a competition, with its archives unpacked."""
    competition = load_competition(competition_file)
    folder = root / data.resolve().name
    if not (folder / "unpacked").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for table in data.glob("*.csv"):
            shutil.copyfile(table, folder / table.name)
        for name in competition.zips:
            if (data / name).is_file():
                with zipfile.ZipFile(data / name) as archive:
                    archive.extractall(folder)
        for name in ("train", "test_upload"):
            if (data / name).is_dir():
                shutil.copytree(data / name, folder / name, dirs_exist_ok=True)
        (folder / "unpacked").touch()
    return Source(data.resolve().name, folder, competition)


def link_many(root: Path, count: int) -> Path:
    """This many training rows in ten classes, and a tenth as many test rows: links to a few small images."""
    folder = root / f"many-{count}"
    if folder.is_dir():
        return folder
    images = sorted((drawn(root, FEW, 10, size=None).folder / "train").rglob("*.jpg"))
    with tempfile.TemporaryDirectory(dir=root) as temporary:
        content = Path(temporary) / "content"
        for number in range(10):
            (content / "train" / str(number)).mkdir(parents=True)
        (content / "test_upload").mkdir()
        rows = [(f"{number:08}.jpg", str(number % 10)) for number in range(count)]
        test = [f"t{number:08}.jpg" for number in range(max(1, count // 10))]
        for number, (name, label) in enumerate(rows):
            _link(images[number % len(images)], content / "train" / label / name)
        for number, name in enumerate(test):
            _link(images[number % len(images)], content / "test_upload" / name)
        write_table(content / "train.csv", ("Id", "Category"), rows)
        write_table(content / "sample-submission.csv", ("Id", "Category"), [(name, 0) for name in test])
        content.rename(folder)
    return folder


def _fill(folder: Path, source: Source, counts: Counts) -> None:
    with (source.folder / "train.csv").open(newline="") as file:
        rows = interleave_classes([(row["Id"], row["Category"]) for row in csv.DictReader(file)])
    with (source.folder / "sample-submission.csv").open(newline="") as file:
        test = [row["Id"] for row in csv.DictReader(file)][: counts.test]
    needed = counts.training + counts.validation
    assert len(rows) >= needed, f"{source.folder} has {len(rows)} images to train on, expected {needed}"
    training, validation = _split(rows[:needed], counts.validation)
    folds = [(*row, "train") for row in training] + [(*row, "0") for row in validation]
    write_set(folder, source, folds, {name: source.folder / "test_upload" / name for name in test})


def write_set(folder: Path, source: Source, rows: list[tuple[str, str, str]], test: Mapping[str, Path]) -> None:
    """Links to images. `rows` are ids, labels and folds, of which 0 is for validation; `test` are files by id."""
    for name, label, fold in rows:
        image = source.folder / "train" / label / name
        _link(image, folder / "train" / label / name)
        _link(image, folder / "split" / ("validation" if fold == "0" else "training") / label / name)
    for name, image in test.items():
        _link(image, folder / "test_upload" / name)
    write_table(folder / "train.csv", ("Id", "Category"), [row[:2] for row in rows])
    write_table(folder / "sample-submission.csv", ("Id", "Category"), [(name, 0) for name in test])
    write_table(folder / "folds.csv", ("id", "label", "fold"), rows)
    competition = source.competition.model_dump(mode="json", by_alias=True, exclude_unset=True)
    competition |= {"folds": {"kind": "table", "path": "folds.csv"}, "zips": []}
    (folder / "competition.yaml").write_text(yaml.safe_dump(competition, sort_keys=False))


def interleave_classes(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Rows alternating between the classes, so that the first n rows are balanced."""
    seen: dict[str, int] = {}
    order = []
    for place, (_, label) in enumerate(rows):
        order.append((seen.setdefault(label, 0), place))
        seen[label] += 1
    return [rows[place] for _, place in sorted(order)]


def _split(rows: list[tuple[str, str]], validation: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The training rows, and this many validation rows with balanced classes."""
    by_class = sorted(rows, key=lambda row: row[1])
    chosen = {by_class[(2 * number + 1) * len(rows) // (2 * validation)] for number in range(validation)}
    return [row for row in rows if row not in chosen], [row for row in rows if row in chosen]


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that does not support links
        shutil.copyfile(source, target)


def write_table(path: Path, head: tuple[str, ...], rows: list) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
