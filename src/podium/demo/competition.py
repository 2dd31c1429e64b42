"""The demo competition: drawn cars of eight body types, in the layout of sf-dl-car-classification.

There are two scenes: portraits, in which the car fills the image, and streets, in which it is small.

train.csv                      Id,Category
train/<Category>/<Id>          the training images
test_upload/<Id>               the test images
sample-submission.csv          Id,Category, all 0
classes.csv                    Category,Name
hidden-answers.csv             Id,Category of the test images, used for the leaderboard score
annotations-bbox.csv           the box of every car, in the format of Open Images
class-descriptions-boxable.csv the names of the labels, without a header, as in Open Images
sample.json                    the options of the competition; written last
"""

import csv
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.random import Generator

from podium.demo.camera import Drawing
from podium.demo.car import BODIES
from podium.demo.scene import draw_car
from podium.demo.street import draw_street
from podium.errors import DataError
from podium.files import named_in_errors, parse_json

CLASSES: tuple[str, ...] = tuple(body.name for body in BODIES)
CAR_LABEL = "/m/0k4j"

Scene = Literal["portrait", "street"]
_DRAW: Mapping[Scene, Callable[[int, Generator, tuple[int, int] | None], Drawing]] = {
    "portrait": draw_car,
    "street": draw_street,
}

_DRAWING_VERSION = 1
"""Increase it when the same seed draws other images than before."""
_BOX_COLUMNS = (
    "ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax",
    "IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside",
)  # fmt: skip


@dataclass(frozen=True)
class SampleCompetition:
    """The competition that was drawn."""

    folder: Path
    train: int
    test: int
    classes: tuple[str, ...]


@dataclass(frozen=True)
class _Stamp:
    """The options that determine every byte of a competition."""

    drawing: int
    seed: int
    train: int
    test: int
    size: tuple[int, int] | None = None
    scene: Scene = "portrait"

    @property
    def facts(self) -> dict[str, Any]:
        """The content of sample.json, without options that have their default."""
        size = {} if self.size is None else {"size": "x".join(map(str, self.size))}
        scene = {} if self.scene == "portrait" else {"scene": self.scene}
        return {"drawing": self.drawing, "seed": self.seed, "train": self.train, "test": self.test} | size | scene


@dataclass(frozen=True)
class _Row:
    id: str
    category: int
    index: int  # the seed of the image, with that of the competition


def draw_competition(
    folder: Path,
    *,
    train: int = 3000,
    test: int = 1000,
    seed: int = 42,
    size: tuple[int, int] | None = None,
    scene: Scene = "portrait",
) -> SampleCompetition:
    """Draw the competition into a new or empty folder, unless the folder already contains the same one.

    `size` is (width, height). By default sizes vary: portraits are about 144×108, streets about 320×240.
    """
    stamp = _Stamp(_DRAWING_VERSION, seed, train, test, size, scene)
    sample = SampleCompetition(folder, train, test, CLASSES)
    if _exists(folder, stamp):
        return sample
    folder.parent.mkdir(parents=True, exist_ok=True)
    with named_in_errors(folder), tempfile.TemporaryDirectory(prefix=".drawing-", dir=folder.parent) as temporary:
        content = Path(temporary) / "content"
        content.mkdir()
        _write(content, *_make_rows(stamp), stamp)
        if folder.is_dir():
            folder.rmdir()  # it is empty; on Windows it cannot be replaced
        content.rename(folder)
    return sample


def _exists(folder: Path, stamp: _Stamp) -> bool:
    """Whether the folder contains this competition. An error if it contains anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    found = _read_stamp(folder / "sample.json")
    if found == stamp.facts:
        return True
    what = "is not an empty folder" if found is None else f"contains another sample ({_format(found)})"
    raise DataError(f"{folder} {what}; expected a new or empty folder for this sample ({_format(stamp.facts)})")


def _read_stamp(path: Path) -> dict[str, Any] | None:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _format(stamp: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in stamp.items())


def _make_rows(stamp: _Stamp) -> tuple[list[_Row], list[_Row]]:
    """The training and the test rows, shuffled. Ids are random, so that they do not reveal the class."""
    random = np.random.default_rng((stamp.seed, 0))
    numbers = 100_000 + random.permutation(900_000)[: stamp.train + stamp.test]
    categories = np.concatenate([_shuffled_categories(count, random) for count in (stamp.train, stamp.test)])
    rows = [
        _Row(f"{number}.jpg", int(category), index + 1)  # 0 is the seed of the rows
        for index, (number, category) in enumerate(zip(numbers, categories, strict=True))
    ]
    return rows[: stamp.train], rows[stamp.train :]


def _shuffled_categories(count: int, random: np.random.Generator) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Most rows are divided evenly, the rest at random: real classes differ in size."""
    even = np.arange(round(0.85 * count)) % len(CLASSES)
    return random.permutation(np.concatenate([even, random.integers(len(CLASSES), size=count - len(even))]))


def _write(folder: Path, train: Sequence[_Row], test: Sequence[_Row], stamp: _Stamp) -> None:
    for category in range(len(CLASSES)):
        (folder / "train" / str(category)).mkdir(parents=True)
    (folder / "test_upload").mkdir()
    boxes = [_write_image(folder / "train" / str(row.category), row, stamp) for row in train]
    boxes += [_write_image(folder / "test_upload", row, stamp) for row in test]
    head = ("Id", "Category")
    _write_csv(folder / "train.csv", head, [(row.id, row.category) for row in train])
    _write_csv(folder / "sample-submission.csv", head, [(row.id, 0) for row in test])
    _write_csv(folder / "hidden-answers.csv", head, [(row.id, row.category) for row in test])
    _write_csv(folder / "classes.csv", ("Category", "Name"), enumerate(CLASSES))
    _write_csv(folder / "annotations-bbox.csv", _BOX_COLUMNS, boxes)
    _write_csv(folder / "class-descriptions-boxable.csv", (CAR_LABEL, "Car"), [])
    (folder / "sample.json").write_text(json.dumps(stamp.facts, indent=2) + "\n", encoding="utf-8", newline="\n")


def _write_image(folder: Path, row: _Row, stamp: _Stamp) -> tuple[object, ...]:
    """Draw and save an image. Returns its row of the table of boxes."""
    random = np.random.default_rng((stamp.seed, row.index))
    drawing = _DRAW[stamp.scene](row.category, random, stamp.size)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(80, 96))]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(drawing.image, cv2.COLOR_RGB2BGR), quality)
    (folder / row.id).write_bytes(encoded.tobytes())
    places = (f"{share:.6f}" for share in drawing.box)
    # IsDepiction is 0, since readers of Open Images skip drawings.
    return (Path(row.id).stem, "drawn", CAR_LABEL, 1, *places, int(drawing.covered), 0, 0, 0, 0)


def _write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
