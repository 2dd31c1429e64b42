"""The log of a darknet training as a table with one row per iteration.

    iteration,loss,average_loss,rate,iou,map50

Both darknets are supported, AlexeyAB's and the original. They print the regions of an iteration before its own line,

    v3 (mse loss, ...) Region 82 Avg (IOU: 0.774, GIOU: 0.763), Class: 0.99, ..., count: 26, ...
    Region 82 Avg IOU: 0.5, Class: 0.9, Obj: 0.4, ..., count: 2
    1042: 1.837529, 2.113820 avg loss, 0.001000 rate, 3.214 seconds, 66688 images, 11.2 hours left

and after some of them the score, as `mean average precision (mAP@0.5) = 0.5312, or 53.12 %`. `iou` is the mean over all
boxes counted in the regions of an iteration. Unknown values are nan, and empty in the file.

A resumed training starts at an earlier iteration; its lines replace those of the same iterations. Incomplete lines are
ignored.
"""

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from podium.errors import DataError
from podium.files import atomic_write

LOG_COLUMNS = ("iteration", "loss", "average_loss", "rate", "iou", "map50")
_NUMBER = r"-?(?:\d+\.\d+|nan(?:\(ind\))?|inf|1\.#\w+)"
_ITERATION = re.compile(
    rf"(?<![\d.])(?P<iteration>\d{{1,12}}): (?P<loss>{_NUMBER}), (?P<average_loss>{_NUMBER}) avg(?: loss)?,"
    rf" (?P<rate>{_NUMBER}) rate, {_NUMBER} seconds, \d+ images"
)
_REGION = re.compile(rf"(?:\d+ )?Avg \(?IOU: (?P<iou>{_NUMBER})[,)].*?count: (?P<count>\d{{1,12}})")
_MAP = re.compile(rf"mean average precision \(mAP(?:@0?\.50?)?\) = (?P<map>{_NUMBER}), or")
_SHORT_MAP = re.compile(r"mean_average_precision \(mAP@0?\.50?\) = (?P<map>\d\.\d{6})")
_START = "Learning Rate:"
"""Printed when a training starts or resumes; regions before it belong to an unfinished iteration."""
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""Windows PowerShell writes UTF-16."""


@dataclass(frozen=True)
class _Row:
    iteration: int
    loss: float
    average_loss: float
    rate: float
    iou: float
    map50: float = np.nan


def read_darknet_log(path: Path) -> pd.DataFrame:
    """Read a log, sorted by iteration. A log without iterations is a DataError."""
    rows = _without_repetitions(_rows_in(_lines_of(path)))
    if not rows:
        raise DataError(
            f"{path} has no iteration of darknet; expected the output of `darknet detector train`, with lines such as"
            " `1042: 1.837529, 2.113820 avg loss, 0.001000 rate, 3.214 seconds, 66688 images`"
        )
    return pd.DataFrame([vars(row) for row in rows], columns=list(LOG_COLUMNS))


def write_log_table(path: Path, table: pd.DataFrame) -> None:
    with atomic_write(path) as draft:
        table.to_csv(draft, index=False, float_format="%.9g", lineterminator="\n")


def summarize_log(name: str, table: pd.DataFrame) -> list[str]:
    """One or two lines on the progress of the training."""
    iterations = table["iteration"]
    first = f"{name}: {len(table):,} iterations, {iterations.iloc[0]:,} to {iterations.iloc[-1]:,}"
    losses = table.dropna(subset="average_loss")
    if len(losses):
        lowest = losses.loc[losses["average_loss"].idxmin()]
        first += (
            f"; final average loss {losses['average_loss'].iloc[-1]:.3f}, lowest {lowest['average_loss']:.3f}"
            f" (iteration {lowest['iteration']:,.0f})"
        )
    details = []
    with_iou, with_map = table.dropna(subset="iou"), table.dropna(subset="map50")
    if len(with_iou):
        last = with_iou.iloc[-1]
        details.append(
            f"mean IoU {last['iou']:.3f} at iteration {last['iteration']:,.0f}, the last of {len(with_iou):,}"
        )
    if len(with_map):
        best = with_map.loc[with_map["map50"].idxmax()]
        details.append(
            f"mAP@0.5 {best['map50']:.3f} at iteration {best['iteration']:,.0f}, the highest of {len(with_map)}"
        )
    return [first, *(["; ".join(details)] if details else [])]


def _lines_of(path: Path) -> Iterator[str]:
    """Only ASCII characters matter, so undecodable ones are replaced."""
    try:
        with path.open("rb") as file:
            encoding = "utf-16" if file.read(2) in _UTF16 else "utf-8"
        with path.open(encoding=encoding, errors="replace") as lines:
            yield from lines
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _rows_in(lines: Iterable[str]) -> list[_Row]:
    """The iterations in the order of the log."""
    rows: list[_Row] = []
    regions: list[tuple[float, int]] = []
    for line in lines:
        if _START in line:
            regions = []
        for part in line.split("Region ")[1:]:
            region = _REGION.match(part)
            if region and int(region["count"]) and np.isfinite(_number(region["iou"])):
                regions.append((_number(region["iou"]), int(region["count"])))
        for match in _ITERATION.finditer(line):
            iou = _mean_iou(regions)
            loss, average_loss, rate = (_number(match[name]) for name in ("loss", "average_loss", "rate"))
            rows.append(_Row(int(match["iteration"]), loss, average_loss, rate, iou))
            regions = []
        score = _MAP.search(line) or _SHORT_MAP.search(line)
        if score and rows:
            rows[-1] = replace(rows[-1], map50=_number(score["map"]))
    return rows


def _mean_iou(regions: Sequence[tuple[float, int]]) -> float:
    if not regions:
        return np.nan
    ious, counts = zip(*regions, strict=True)
    return float(np.average(ious, weights=counts))


def _without_repetitions(rows: Sequence[_Row]) -> list[_Row]:
    """Each iteration once, as logged last."""
    kept: list[_Row] = []
    for row, following in zip(rows, [*rows, None][1:], strict=True):
        if kept and row.iteration == kept[-1].iteration:  # a repeated line, whose regions or score may be logged once
            last = kept[-1]
            iou, map50 = (old if np.isnan(new) else new for old, new in ((last.iou, row.iou), (last.map50, row.map50)))
            kept[-1] = replace(row, iou=iou, map50=map50)
        elif not (kept and _is_truncated(row, kept[-1], following)):
            while kept and kept[-1].iteration >= row.iteration:
                kept.pop()
            kept.append(row)
    return kept


def _is_truncated(row: _Row, before: _Row, following: _Row | None) -> bool:
    """Whether digits of the iteration are missing: it is lower than before, and the log does not continue from it."""
    return row.iteration < before.iteration and (following is None or following.iteration > before.iteration)


def _number(text: str) -> float:
    """Windows prints nan and infinity as 1.#IND and 1.#INF."""
    if "#INF" in text:
        return float("-inf" if text.startswith("-") else "inf")
    return float("nan") if "nan" in text or "#" in text else float(text)
