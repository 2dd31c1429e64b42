"""Pictures from their files, brought to a model's size."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from podium.data.rows import CompetitionRows, without
from podium.errors import DataError
from podium.files import digest_of, read_json, write_json
from podium.paths import cache_folder

Picture = NDArray[np.uint8]
Resize = Literal["squash", "crop", "pad"]

_JPEG = b"\xff\xd8"
_ENDINGS = {_JPEG: b"\xff\xd9", b"\x89PNG": b"IEND"}
"""How a format begins, and what a whole file of it holds: some versions of OpenCV fill what is cut off with grey."""

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # podium itself names the files it cannot read


def read_picture(path: Path) -> Picture:
    """The picture as (height, width, 3) RGB, turned as its EXIF says."""
    content = np.fromfile(path, dtype=np.uint8)
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB) if content.size else None
    if picture is None:
        raise DataError(f"{path} is not a picture that can be read; replace it, or set on_bad_image: skip")
    return np.asarray(picture, dtype=np.uint8)


def fit_picture(
    picture: Picture, size: int, resize: Resize, zoom: float = 1.0, at: tuple[float, float] = (0.5, 0.5)
) -> Picture:
    """The picture at size × size.

    Above 1, `zoom` looks closer: the picture is brought to `zoom` times the size and cut at `at` (0, 0 is the top
    left, 1, 1 the bottom right). Below 1 it looks from further away, with the edges mirrored.
    """
    height, width = picture.shape[:2]
    inner = max(1, round(size * zoom))
    if resize == "squash":
        new_height, new_width = inner, inner
    else:
        scale = inner / (min(height, width) if resize == "crop" else max(height, width))
        new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    shrinks = new_height * new_width < height * width
    scaled = cv2.resize(picture, (new_width, new_height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    border = cv2.BORDER_CONSTANT if resize == "pad" else cv2.BORDER_REFLECT_101
    return np.asarray(_pad(_cut(scaled, size, at), size, border), dtype=np.uint8)


def _cut(picture: Picture, size: int, at: tuple[float, float]) -> Picture:
    height, width = picture.shape[:2]
    top, left = round(max(0, height - size) * at[1]), round(max(0, width - size) * at[0])
    return picture[top : top + size, left : left + size]


def _pad(picture: Picture, size: int, border: int) -> Picture:
    height, width = picture.shape[:2]
    if (height, width) == (size, size):
        return picture
    top, left = (size - height) // 2, (size - width) // 2
    padded = cv2.copyMakeBorder(picture, top, size - height - top, left, size - width - left, border)
    return np.asarray(padded, dtype=np.uint8)


def unreadable(paths: list[Path], workers: int = 2) -> list[Path]:
    """The files that are no whole pictures. The answer for a set of unchanged files is remembered."""
    facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    known = cache_folder() / "checked" / f"{digest_of(facts)}.json"
    if known.is_file():
        return [Path(path) for path in read_json(known).get("unreadable", [])]
    with ThreadPoolExecutor(workers) as pool:
        whole = list(pool.map(_is_whole, paths))
    bad = [path for path, good in zip(paths, whole, strict=True) if not good]
    write_json(known, {"checked": len(paths), "unreadable": [str(path) for path in bad]})
    return bad


def _is_whole(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    if not content or any(content.startswith(start) and end not in content for start, end in _ENDINGS.items()):
        return False
    # An eighth of a JPEG's size is decoded several times as fast, and fails on the same files.
    size = cv2.IMREAD_REDUCED_COLOR_8 if content.startswith(_JPEG) else cv2.IMREAD_COLOR
    try:
        return cv2.imdecode(np.frombuffer(content, dtype=np.uint8), size) is not None
    except cv2.error:
        return False


def leave_out_unreadable(rows: CompetitionRows, on_bad_image: str) -> tuple[CompetitionRows, set[Path]]:
    """All unreadable pictures named in one error; or, with `skip`, the rows without them and which they were."""
    bad = unreadable([*rows.train["path"], *rows.extra["path"], *rows.test["path"]])
    if bad and on_bad_image == "error":
        raise DataError(
            f"{len(bad)} pictures cannot be read: {', '.join(map(str, bad))}; replace them, or leave them out with"
            " on_bad_image: skip in the competition file"
        )
    left = without(rows, set(bad)) if bad else rows
    gone = set(rows.train["label"]) - set(left.train["label"])
    if gone:
        raise DataError(f"no readable picture is left of the class {', '.join(sorted(gone))}; replace some of them")
    return left, set(bad)


def numbered(labels: Iterable[str], classes: list[str]) -> NDArray[np.int64]:
    """Labels as the numbers of the model's outputs."""
    number = {label: index for index, label in enumerate(classes)}
    return np.array([number[label] for label in labels], dtype=np.int64)
