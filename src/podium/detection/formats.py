"""What the formats share: a folder that is made whole or not at all, names of images in it, and the images.

An exported image has a flat name made of its id, so that nothing in an id can lead out of the folder: `a/b` becomes
`a%2Fb`. What is not safe as a file's name anywhere, blanks and `%` are written like that; an import reads the id back.
"""

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from podium.detection.dataset import (
    BOX_COLUMNS,
    CORNERS,
    DIGITS,
    IMAGE_COLUMNS,
    BoxDataset,
    image_path,
    ordered,
    rows_of_images,
)
from podium.detection.parsing import short
from podium.detection.sizes import upright_size
from podium.errors import DataError

SHORT_SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""As the formats' users call them."""
READ_SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_UNSAFE = re.compile(r'[%/\\:*?"<>|\s\x00-\x1f\x7f]|^\.|\.$')
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")
_LONGEST_NAME = 240
"""Bytes. Most file systems take 255, of which a suffix and a temporary name have some."""
_ROUNDING = 0.01
"""Pixels by which the rounding of a format may bring a box out of its image."""
_KINDS: dict[str, Any] = {"id": np.int64, "class": object} | dict.fromkeys(CORNERS, np.float64)
_MANY = 2_000
"""Images that take long enough to copy for the progress to be shown."""


@dataclass(frozen=True)
class ImageFiles:
    """Where a set's images lie, and how an export gets them: copied, or as symbolic links, which take no room."""

    how: Literal["copy", "link"]
    data_folder: Path
    own_folder: Path
    """The set's own, for turned images."""
    console: Console | None = None


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder`, not there yet or empty, when the block ends well."""
    folder = folder.absolute()
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise DataError(f"{folder} is there already, and is not an empty folder: name another, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".exporting-", dir=folder.parent) as temporary:
        content = Path(temporary) / "content"
        content.mkdir()
        yield content
        if folder.is_dir():
            folder.rmdir()  # empty; Windows does not rename onto a folder
        content.rename(folder)


def stem_of(name: str) -> str:
    """The name that an image of this id has in an export, without its suffix."""
    stem = _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), name)
    if len(stem.encode()) > _LONGEST_NAME:
        raise DataError(f"the id {name[:40]!r}… is too long for a file's name; give that image a shorter one")
    return stem


def id_of(stem: str) -> str:
    """The id that has this name. A name that podium would not write is an id as it is."""
    name = unquote(stem)
    return name if name and _UNSAFE.search(name) and stem_of(name) == stem else stem


def file_names_of(boxset: BoxDataset) -> tuple[list[str], list[str]]:
    """The stem of each image's files in an export, and the name of the image itself."""
    stems = [stem_of(name) for name in boxset.images["id"]]
    doubled = [stem for stem, times in Counter(map(str.casefold, stems)).items() if times > 1]
    if doubled:
        raise DataError(
            f"{len(doubled)} names of images differ only in capital letters (first: {doubled[0]!r}), and would be one"
            " file on some machines; give those images other ids"
        )
    suffixes = [PurePosixPath(file).suffix for file in boxset.images["file"]]
    return stems, [
        f"{stem}{suffix if _SUFFIX.fullmatch(suffix) else '.jpg'}" for stem, suffix in zip(stems, suffixes, strict=True)
    ]


def put_images(boxset: BoxDataset, places: Sequence[Path], files: ImageFiles) -> None:
    """Every image of the set at its place."""
    rows: Any = list(zip(boxset.images["file"], boxset.images["turned"], places, strict=True))
    if files.console is not None and len(rows) >= _MANY:
        doing = "copying" if files.how == "copy" else "linking"
        rows = track(rows, f"  {doing} images", total=len(rows), console=files.console, transient=True)
    for file, turned, place in rows:
        source = image_path(file, turned, files.data_folder, files.own_folder)
        if not source.is_file():
            raise DataError(f"{source} is not there; put the image back, or export without images")
        place.parent.mkdir(parents=True, exist_ok=True)
        if files.how == "link":
            place.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, place)


def classes_of_boxes(boxset: BoxDataset) -> NDArray[np.int64]:
    """The place of each box's class in the list of them."""
    return np.asarray(pd.Index(boxset.classes, dtype=object).get_indexer(pd.Index(boxset.boxes["class"], dtype=object)))


def boxes_of_images(boxset: BoxDataset) -> Iterator[slice]:
    """The rows of each image's boxes, in the order of the images."""
    rows = rows_of_images(boxset.boxes["id"], boxset.images)
    ends = np.searchsorted(rows, np.arange(len(boxset.images) + 1)).tolist()
    return (slice(start, end) for start, end in pairwise(ends))


def boxset_from(
    slug: str,
    classes: list[str],
    images: Sequence[tuple[Any, ...]],
    boxes: Sequence[tuple[Any, ...]],
    source: dict[str, Any],
) -> BoxDataset:
    """From rows in the order of the two files' columns, as an import finds them. A box names its image by its place
    among the images, since ids may yet change: one that stands in several splits gets the split's name before it."""
    table = pd.DataFrame(images, columns=list(IMAGE_COLUMNS))
    _tell_doubled(table, ["id", "split"], source)
    is_double = table["id"].duplicated(keep=False)
    if is_double.any():
        table["id"] = table["id"].where(~is_double, table["split"].map(SHORT_SPLITS) + "/" + table["id"])
        _tell_doubled(table, ["id"], source)
    columns = dict(zip(BOX_COLUMNS, zip(*boxes, strict=True), strict=True)) if boxes else dict.fromkeys(BOX_COLUMNS, ())
    found = pd.DataFrame({name: np.array(values, dtype=_KINDS.get(name, bool)) for name, values in columns.items()})
    rows = found["id"].to_numpy()
    for side, start, end in (("width", "left", "right"), ("height", "top", "bottom")):
        limit = table[side].to_numpy(dtype=np.float64)[rows]
        found[start] = _on_the_edge(found[start].to_numpy(), 0.0, -found[start].to_numpy())
        found[end] = _on_the_edge(found[end].to_numpy(), limit, found[end].to_numpy() - limit)
    found["id"] = table["id"].to_numpy()[rows]
    return ordered(BoxDataset(slug, classes, table, found, source))


def _tell_doubled(images: pd.DataFrame, columns: list[str], source: dict[str, Any]) -> None:
    doubled = images[images.duplicated(columns, keep=False)]
    if len(doubled):
        name = doubled["id"].iloc[0]
        first, second = doubled["file"][doubled["id"] == name].iloc[:2]
        raise DataError(
            f"{source['path']}: two images have the id {short(name)}, {short(first)} and {short(second)}; rename one"
        )


def _on_the_edge(values: NDArray[np.float64], edge: Any, overhang: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounded to a millionth of a pixel, and on the edge where only a format's rounding has brought it outside."""
    return np.where((overhang > 0) & (overhang <= _ROUNDING), edge, values.round(DIGITS)) + 0.0  # -0.0 becomes 0.0


def check_sizes(boxset: BoxDataset, data_folder: Path, own_folder: Path) -> None:
    """DataError where an image has not the size that the set says: boxes drawn on another version of it lie wrong."""
    columns = boxset.images[["id", "file", "turned", "width", "height"]]
    for name, file, turned, width, height in columns.itertuples(index=False):
        path = image_path(file, turned, data_folder, own_folder)
        measured = upright_size(path)
        if measured != (width, height):
            told = f"{measured[0]} × {measured[1]} pixels, and its boxes speak of {width} × {height}"
            raise DataError(f"{path} has {told}; give the image that was boxed as {name!r}")
