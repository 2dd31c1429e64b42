"""Medians, ranges, and ratios within the same round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Figure:
    """The median of several rounds, with the minimum and the maximum."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        return cls(float(median(values)), float(min(values)), float(max(values)))

    def format(self, unit: str = "") -> str:
        return f"{number(self.median)} ({number(self.least)}–{number(self.most)}){unit}"


def number(value: float) -> str:
    """With three significant digits; without decimals from 100 on."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def column(results: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [float(result[key]) for result in results]


def ratios(upper: Sequence[float], lower: Sequence[float]) -> Figure:
    """The ratio of each round, and their median."""
    return Figure.of([above / below for above, below in zip(upper, lower, strict=True)])


def best(results: Mapping[str, Sequence[Mapping[str, Any]]], key: str) -> str:
    """The name with the highest median."""
    return max(results, key=lambda name: median(column(results[name], key)))


@dataclass(frozen=True)
class Row:
    """A row of the table. `ratio` is podium's figure divided by the other's; `is_met` is None if not measured."""

    what: str
    images: str
    target: str
    podium: str
    other: str
    ratio: float | None
    spread: tuple[float, float] | None
    is_met: bool | None

    @property
    def verdict(self) -> str:
        return {True: "yes", False: "**no**", None: "–"}[self.is_met]


@dataclass(frozen=True)
class Outcome:
    """The results of a measure: rows of the table, a table of details, and all figures."""

    rows: list[Row]
    details: list[str]
    raw: dict[str, Any]


def compared(
    what: str, images: str, target: str, podium: Sequence[float], other: Sequence[float], name: str,
    *, at_least: float | None = None, at_most: float | None = None, unit: str = "",
) -> Row:  # fmt: skip
    """podium's figure divided by another's, round by round, compared with a target if there is one."""
    ratio = ratios(podium, other)
    is_met = None
    if at_least is not None:
        is_met = ratio.median >= at_least
    elif at_most is not None:
        is_met = ratio.median <= at_most
    return Row(
        what,
        images,
        target,
        Figure.of(podium).format(unit),
        f"{name}: {Figure.of(other).format(unit)}",
        ratio.median,
        (ratio.least, ratio.most),
        is_met,
    )


def not_measured(what: str, images: str, target: str, reason: str) -> Row:
    return Row(what, images, target, "not measured", reason, None, None, None)


def details(title: str, results: Mapping[str, Sequence[Mapping[str, Any]]], keys: Mapping[str, str]) -> list[str]:
    """A table of all candidates: `keys` are the columns and their titles."""
    lines = [f"### {title}", "", f"| | {' | '.join(keys.values())} |", f"|---|{'---|' * len(keys)}"]
    for name, rounds in results.items():
        cells = []
        for key in keys:
            is_present = all(key in result for result in rounds)
            cells.append(Figure.of(column(rounds, key)).format() if is_present else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]
