"""Shared by the formats YOLO, Pascal VOC and COCO: the exported folder, file names and images.

The file name of an exported image is made from its id, with blanks, `%` and unsafe characters percent-encoded, so that
no id can lead out of the folder: `a/b` becomes `a%2Fb`. An import decodes it.
"""

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from podium.detection.dataset import (
    BOX_COLUMNS,
    BOX_TYPES,
    DIGITS,
    IMAGE_COLUMNS,
    BoxDataset,
    image_paths,
    ordered,
)
from podium.detection.orientation import upright_size
from podium.detection.parsing import short
from podium.errors import DataError
from podium.progress import tracked

SHORT_SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""Split names as the formats use them."""
SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_UNSAFE = re.compile(r'[%/\\:*?"<>|\s\x00-\x1f\x7f]|^\.|\.$')
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")
_MAX_STEM_BYTES = 240
"""File systems allow 255, some of which the suffix and a temporary name need."""
_ROUNDING = 0.01
"""Pixels by which the rounding of a format may move a box out of its image."""
_SHOW_PROGRESS_FROM = 2_000


@dataclass(frozen=True)
class ImageFiles:
    """The images of a dataset, and whether an export copies them or makes symbolic links."""

    how: Literal["copy", "link"]
    data_folder: Path
    dataset_folder: Path
    console: Console | None = None


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to `folder`, which must be new or empty, when the block ends without error."""
    folder = folder.absolute()
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise DataError(f"{folder} already exists; expected a new or empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".exporting-", dir=folder.parent) as temporary:
        content = Path(temporary) / "content"
        content.mkdir()
        yield content
        if folder.is_dir():
            folder.rmdir()  # Windows does not rename onto an existing folder
        content.rename(folder)


def stem_of(image_id: str) -> str:
    """The file name of an exported image without its suffix."""
    stem = _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), image_id)
    if len(stem.encode()) > _MAX_STEM_BYTES:
        raise DataError(f"the image id {image_id[:40]!r}... is too long for a file name")
    return stem


def id_of(stem: str) -> str:
    """The image id. A name that podium would not write is the id itself."""
    image_id = unquote(stem)
    return image_id if image_id and _UNSAFE.search(image_id) and stem_of(image_id) == stem else stem


def file_names(dataset: BoxDataset) -> tuple[list[str], list[str]]:
    """The stem and the full name of each exported image."""
    stems = [stem_of(image_id) for image_id in dataset.images["id"]]
    duplicates = [stem for stem, times in Counter(map(str.casefold, stems)).items() if times > 1]
    if duplicates:
        raise DataError(
            f"{len(duplicates)} image ids differ only in upper and lower case (first: {duplicates[0]!r}), which some"
            " file systems do not distinguish; rename those images"
        )
    suffixes = [PurePosixPath(file).suffix for file in dataset.images["file"]]
    suffixes = [suffix if _SUFFIX.fullmatch(suffix) else ".jpg" for suffix in suffixes]
    return stems, [f"{stem}{suffix}" for stem, suffix in zip(stems, suffixes, strict=True)]


def export_images(dataset: BoxDataset, targets: Sequence[Path], files: ImageFiles) -> None:
    pairs: Any = list(zip(image_paths(dataset.images, files.data_folder, files.dataset_folder), targets, strict=True))
    if files.console is not None and len(pairs) >= _SHOW_PROGRESS_FROM:
        pairs = tracked(pairs, "exporting images", len(pairs), files.console)
    for source, target in pairs:
        if not source.is_file():
            raise DataError(f"{source} is missing; restore it, or export with --images none")
        target.parent.mkdir(parents=True, exist_ok=True)
        if files.how == "link":
            target.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, target)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def dataset_from_rows(
    slug: str, classes: list[str], images: Sequence[tuple[Any, ...]], boxes: Sequence[tuple[Any, ...]], where: Path
) -> BoxDataset:
    """A dataset from rows in the order of its columns; a box refers to its image by position.

    An image id that occurs in several splits is prefixed with the split.
    """
    table = pd.DataFrame(images, columns=list(IMAGE_COLUMNS))
    _check_unique(table, ["id", "split"], where)
    is_duplicate = table["id"].duplicated(keep=False)
    if is_duplicate.any():
        table["id"] = table["id"].where(~is_duplicate, table["split"].map(SHORT_SPLITS) + "/" + table["id"])
        _check_unique(table, ["id"], where)
    columns = zip(*boxes, strict=True) if boxes else [()] * len(BOX_COLUMNS)
    dtypes = {**BOX_TYPES, "id": np.int64, "class": object}
    found = pd.DataFrame(
        {name: np.array(column, dtype=dtypes[name]) for name, column in zip(BOX_COLUMNS, columns, strict=True)}
    )
    rows = found["id"].to_numpy()
    for side, start, end in (("width", "left", "right"), ("height", "top", "bottom")):
        limit = table[side].to_numpy(dtype=np.float64)[rows]
        found[start] = _snapped(found[start].to_numpy(), 0.0, -found[start].to_numpy())
        found[end] = _snapped(found[end].to_numpy(), limit, found[end].to_numpy() - limit)
    found["id"] = table["id"].to_numpy()[rows]
    return ordered(BoxDataset(slug, classes, table, found, {"path": str(where)}))


def _check_unique(images: pd.DataFrame, columns: list[str], where: Path) -> None:
    duplicates = images[images.duplicated(columns, keep=False)]
    if len(duplicates):
        image_id = duplicates["id"].iloc[0]
        first, second = duplicates["file"][duplicates["id"] == image_id].iloc[:2]
        raise DataError(
            f"{where}: two images have the id {short(image_id)}: {short(first)} and {short(second)}; rename one of them"
        )


def _snapped(values: NDArray[np.float64], edge: Any, overhang: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounded values, moved to the image's edge if they are outside only by the rounding of the format."""
    return np.where((overhang > 0) & (overhang <= _ROUNDING), edge, values.round(DIGITS)) + 0.0  # -0.0 becomes 0.0


def check_sizes(dataset: BoxDataset, data_folder: Path, dataset_folder: Path) -> None:
    """DataError if an image has another size than in its annotations: its boxes would be wrong."""
    paths = image_paths(dataset.images, data_folder, dataset_folder)
    for path, width, height in zip(paths, dataset.images["width"], dataset.images["height"], strict=True):
        size = upright_size(path)
        if size != (width, height):
            raise DataError(
                f"{path} has {size[0]} × {size[1]} pixels, but {width} × {height} in its annotations; expected the"
                " image that was annotated"
            )
