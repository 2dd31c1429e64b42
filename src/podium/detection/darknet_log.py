"""What a darknet training printed, as a table: a row an iteration.

    iteration,loss,average_loss,rate,iou,map50

Both darknets are read, AlexeyAB's and the first one. They print the regions of an iteration before its own line:

    v3 (mse loss, …) Region 82 Avg (IOU: 0.774, GIOU: 0.763), Class: 0.99, …, count: 26, …
    Region 82 Avg IOU: 0.5, Class: 0.9, Obj: 0.4, …, count: 2
    1042: 1.837529, 2.113820 avg loss, 0.001000 rate, 3.214 seconds, 66688 images, 11.2 hours left

and after some of these lines what the weights are worth, as `mean average precision (mAP@0.5) = 0.5312, or 53.12 %`.
`iou` is the mean over all boxes that the regions of an iteration counted. What is unknown is nan, in the file nothing.

A training that goes on from earlier weights begins again at an earlier iteration: then what it prints counts, and what
was printed of the later iterations before does not. Lines that are cut off, or run into others, are left out.
"""

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from podium.errors import DataError
from podium.files import atomic_write

LOG_COLUMNS = ("iteration", "loss", "average_loss", "rate", "iou", "map50")
_NUMBER = r"-?(?:\d+\.\d+|nan(?:\(ind\))?|inf|1\.#\w+)"
_ITERATION = re.compile(
    rf"(?<![\d.])(?P<iteration>\d+): (?P<loss>{_NUMBER}), (?P<average_loss>{_NUMBER}) avg(?: loss)?,"
    rf" (?P<rate>{_NUMBER}) rate, {_NUMBER} seconds, \d+ images"
)
_REGION = re.compile(rf"(?:\d+ )?Avg \(?IOU: (?P<iou>{_NUMBER})[,)].*?count: (?P<count>\d+)")
_MAP = re.compile(rf"mean average precision \(mAP(?:@0?\.50?)?\) = (?P<map>{_NUMBER}), or")
_SHORT_MAP = re.compile(r"mean_average_precision \(mAP@0?\.50?\) = (?P<map>\d\.\d{6})")
_BEGINNING = "Learning Rate:"
"""Printed when a training begins or goes on; what regions were told before belongs to an iteration that never ended."""
_MARKS = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
"""How a text begins that Windows' PowerShell wrote."""


@dataclass
class _Row:
    iteration: int
    loss: float
    average_loss: float
    rate: float
    iou: float
    map50: float = float("nan")


@dataclass
class _Regions:
    """Of the iteration under way."""

    overlaps: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def add(self, iou: float, count: int) -> None:
        if count and np.isfinite(iou):
            self.overlaps.append(iou)
            self.counts.append(count)

    def taken(self) -> float:
        mean = float(np.average(self.overlaps, weights=self.counts)) if self.counts else float("nan")
        self.clear()
        return mean

    def clear(self) -> None:
        self.overlaps, self.counts = [], []


def read_darknet_log(path: Path) -> pd.DataFrame:
    """By rising iterations, each once; DataError where the file holds no iteration of darknet's."""
    rows = _later_ones(_rows_in(_lines_of(path)))
    if not rows:
        raise DataError(
            f"{path} holds no line of an iteration as darknet prints them; expected such as `1042: 1.837529, 2.113820"
            " avg loss, 0.001000 rate, 3.214 seconds, 66688 images`: give what `darknet detector train` printed"
        )
    return pd.DataFrame([vars(row) for row in rows], columns=list(LOG_COLUMNS))


def write_log_table(path: Path, table: pd.DataFrame) -> None:
    with atomic_write(path) as draft:
        table.to_csv(draft, index=False, float_format="%.9g", lineterminator="\n")


def read_log_table(path: Path) -> pd.DataFrame:
    """What `write_log_table` wrote."""
    try:
        table = pd.read_csv(path, encoding="utf-8")
        if list(table.columns) != list(LOG_COLUMNS):
            raise ValueError(f"columns {', '.join(map(str, table.columns))[:100]}")
        table = table.astype(dict.fromkeys(LOG_COLUMNS, np.float64) | {"iteration": np.int64})
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); import a darknet log first") from error
    except ValueError as error:  # pandas' own errors are of this kind
        told = " ".join(str(error).split())
        raise DataError(
            f"{path} is no table of a darknet log ({told}); expected columns {','.join(LOG_COLUMNS)} with numbers:"
            " import the log again"
        ) from error
    return table


def _lines_of(path: Path) -> Iterator[str]:
    """In whatever letters: only the ASCII ones matter."""
    try:
        with path.open("rb") as file:
            beginning = file.read(2)
        encoding = next((name for mark, name in _MARKS if beginning == mark), "utf-8")
        with path.open(encoding=encoding, errors="replace") as lines:
            yield from lines
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); give what `darknet detector train` printed"
        ) from error


def _rows_in(lines: Iterable[str]) -> list[_Row]:
    """One for each line of an iteration, in the order of the log."""
    rows: list[_Row] = []
    regions = _Regions()
    for line in lines:
        if _BEGINNING in line:
            regions.clear()
        for part in line.split("Region ")[1:]:
            region = _REGION.match(part)
            if region:
                regions.add(_number(region["iou"]), int(region["count"]))
        for found in _ITERATION.finditer(line):
            loss, average_loss, rate = (_number(found[name]) for name in ("loss", "average_loss", "rate"))
            rows.append(_Row(int(found["iteration"]), loss, average_loss, rate, regions.taken()))
        worth = _MAP.search(line) or _SHORT_MAP.search(line)
        if worth and rows:
            rows[-1].map50 = _number(worth["map"])
    return rows


def _later_ones(rows: Sequence[_Row]) -> list[_Row]:
    """Each iteration once, by what the log tells of it last."""
    kept: list[_Row] = []
    for row, following in zip(rows, [*rows, None][1:], strict=True):
        if kept and row.iteration == kept[-1].iteration:
            kept[-1] = _together(kept[-1], row)
        elif not (kept and _is_torn(row, kept[-1], following)):
            while kept and kept[-1].iteration >= row.iteration:
                kept.pop()
            kept.append(row)
    return kept


def _together(first: _Row, second: _Row) -> _Row:
    """Of a line that is doubled; what stands around it may be there only once."""
    iou = first.iou if np.isnan(second.iou) else second.iou
    map50 = first.map50 if np.isnan(second.map50) else second.map50
    return _Row(second.iteration, second.loss, second.average_loss, second.rate, iou, map50)


def _is_torn(row: _Row, before: _Row, following: _Row | None) -> bool:
    """Did its number lose digits? It goes back, and the log does not go on from there."""
    return row.iteration < before.iteration and (following is None or following.iteration > before.iteration)


def _number(text: str) -> float:
    """Windows tells nan and infinity in words of its own."""
    if "#INF" in text:
        return float(text.replace("1.#INF", "inf").rstrip("0"))
    return float("nan") if "nan" in text or "#" in text else float(text)
