"""A drawn competition with faults of every kind in its files and tables, each of a known number of images."""

import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image


@dataclass
class Planted:
    """The ids of the images with each kind of fault."""

    faults: dict[str, set[str]] = field(default_factory=dict)


def _jpeg(image, path, quality=92, **options):
    Image.fromarray(image).save(path, "JPEG", quality=quality, **options)


def _unreadable(path, image, random):
    path.write_bytes(bytes(random.integers(0, 256, 900, dtype=np.uint8)))


def _truncated(path, image, random):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * random.uniform(0.3, 0.8))])


def _wrong_suffix(path, image, random):
    Image.fromarray(image).save(path, "PNG")


def _rotated(path, image, random):
    exif = Image.Exif()
    exif[0x112] = int(random.choice([3, 6, 8]))
    _jpeg(image, path, exif=exif)


def _grey(path, image, random):
    Image.fromarray(image).convert("L").save(path, "JPEG", quality=92)


def _cmyk(path, image, random):
    Image.fromarray(image).convert("CMYK").save(path, "JPEG", quality=92)


def _transparent(path, image, random):
    alpha = np.full(image.shape[:2], 255, np.uint8)
    alpha[:20, :20] = 60
    Image.fromarray(np.dstack([image, alpha])).save(path, "PNG")


def _deep(path, image, random):
    cv2.imwrite(str(path.with_suffix(".png")), image[..., ::-1].astype(np.uint16) * 257)
    path.with_suffix(".png").replace(path)


def _odd_size(path, image, random):
    factor = random.choice([0.2, 6])
    _jpeg(cv2.resize(image, None, fx=factor, fy=factor), path)


def _odd_shape(path, image, random):
    narrow = (image.shape[1] // 5, image.shape[0]), (image.shape[1] * 4, image.shape[0])
    _jpeg(cv2.resize(image, narrow[random.integers(2)]), path)


def _dark(path, image, random):
    _jpeg((image * random.uniform(0.05, 0.15)).astype(np.uint8), path)


def _blurred(path, image, random):
    _jpeg(cv2.GaussianBlur(image, (0, 0), random.uniform(4, 6)), path)


def _blank(path, image, random):
    _jpeg(np.full_like(image, random.integers(0, 256, 3)), path)


FAULTS: dict[str, Callable[..., None]] = {
    "unreadable": _unreadable, "truncated": _truncated, "wrong_suffix": _wrong_suffix, "rotated": _rotated,
    "grey": _grey, "cmyk": _cmyk, "transparent": _transparent, "deep": _deep, "odd_size": _odd_size,
    "odd_shape": _odd_shape, "dark": _dark, "blurred": _blurred, "blank": _blank,
}  # fmt: skip
COPIES = ("labels", "test_copies", "leaks")


def _copy(source: Path, target: Path, random) -> None:
    """The same file, or the image scaled, made brighter, or saved again."""
    image = np.asarray(Image.open(source).convert("RGB"))
    kind = random.integers(4)
    if kind == 0:
        shutil.copyfile(source, target)
    elif kind == 1:
        _jpeg(cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA), target)
    elif kind == 2:
        _jpeg(np.clip(image * 1.05 + 4, 0, 255).astype(np.uint8), target)
    else:
        _jpeg(image, target, quality=50)


def plant(folder: Path, count: int, folds: "pd.Series[int] | None" = None, seed: int = 0) -> dict[str, set[str]]:
    """Plant `count` faults of each kind in the data of the drawn car competition. `folds` is the fold of each id."""
    random = np.random.default_rng(seed)
    table = pd.read_csv(folder / "train.csv", dtype=str)
    test = pd.read_csv(folder / "sample-submission.csv", dtype=str)
    id_column, label_column = table.columns[:2]
    rows = iter(random.permutation(len(table)).tolist())
    planted: dict[str, set[str]] = {}

    def next_row():
        row = next(rows)
        return table[id_column][row], folder / "train" / table[label_column][row] / table[id_column][row]

    for kind, change in FAULTS.items():
        planted[kind] = set()
        for _ in range(count):
            name, path = next_row()
            change(path, np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB")), random)
            planted[kind].add(name)
    tests = iter(random.permutation(len(test)).tolist())
    planted["test_copies"] = set()
    for _ in range(count):
        name, path = next_row()
        other = test[test.columns[0]][next(tests)]
        _copy(path, folder / "test_upload" / other, random)
        planted["test_copies"] |= {name, other}
    planted["labels"] = set()
    while len(planted["labels"]) < 2 * count:
        (name, path), (other, other_path) = next_row(), next_row()
        if path.parent != other_path.parent:
            _copy(path, other_path, random)
            planted["labels"] |= {name, other}
    planted["leaks"] = set()
    while folds is not None and len(planted["leaks"]) < 2 * count:
        (name, path), (other, other_path) = next_row(), next_row()
        if path.parent == other_path.parent and folds[name] != folds[other]:
            _copy(path, other_path, random)
            planted["leaks"] |= {name, other}
    planted["rows"], planted["unused"] = set(), set()
    for number in range(count):
        name, path = next_row()
        if number % 2:
            path.unlink()
            planted["rows"].add(name)
        else:
            table.loc[table[id_column] == name, id_column] = f"../../{name}"
            planted["rows"].add(f"../../{name}")
            planted["unused"].add(path.name)
        extra = path.parent / f"extra{number}.jpg"
        _jpeg(random.integers(0, 256, (90, 120, 3), dtype=np.uint8), extra)
        planted["unused"].add(extra.name)
    table.to_csv(folder / "train.csv", index=False)
    return planted
