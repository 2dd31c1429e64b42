"""The runs that `podium compare` reads, and the result of a comparison."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from podium.errors import RunError
from podium.evaluation.statistics import RunDifference, Statistics
from podium.runs import Run
from podium.yaml_text import read_saved

TIMED_PARTS = ("training", "prediction")
SHARES = ("accuracy", "balanced_accuracy", "AP@0.5")
"""Metrics whose differences are given in points, hundredths of the metric."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A run to compare: a member, one of its folds, a blend, or a detector."""

    letter: str
    """Its short name in tables."""
    path: Path
    kind: Literal["member", "blend", "detector"]
    folders: list[Path]
    """The folders with its predictions, one per fold."""
    slug: str
    """Of its competition or dataset."""
    configs: list[dict[str, Any]]
    """The keys as in a config file and `--set`, one per fold."""
    versions: dict[str, str]
    seconds: dict[str, float | None]
    """Of all folds together, by `TIMED_PARTS`; None where unknown."""
    is_dry_run: bool = False
    limit: int | None = None
    notes: list[str] = field(default_factory=list)
    """Reasons to be careful with its scores."""

    @property
    def description(self) -> str:
        if self.kind != "member":
            return self.kind
        return f"{len(self.folders)} fold{'s' * (len(self.folders) != 1)}"


@dataclass(frozen=True, kw_only=True)
class Comparison(Statistics):
    """Which of several runs is better. The first is the baseline."""

    runs: Sequence[Candidate]
    metric: str
    """The metric that decides."""
    higher_is_better: bool
    uses_mcnemar: bool
    """Whether the deciding p-value is McNemar's, else the bootstrap's."""
    part: str | None = None
    """The part of the dataset that detectors are compared on."""
    thresholds: list[float] = field(default_factory=list)
    """The score threshold of each detector."""
    config_differences: dict[str, list[str]] = field(default_factory=dict)
    """Config keys that differ, with the value of each run."""
    version_differences: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Reasons to be careful with the scores."""

    @property
    def verdicts(self) -> list[str]:
        """A sentence for each run but the first."""
        others = zip(self.runs[1:], self.differences, strict=True)
        return [self._verdict(run.letter, difference) for run, difference in others]

    def _verdict(self, letter: str, found: RunDifference) -> str:
        baseline = self.runs[0].letter
        word, amount = ("better", found.gain) if found.gain.value >= 0 else ("worse", -found.gain)
        factor, digits, unit = (100, 2, "points") if self.metric in SHARES else (1, 4, self.metric)
        values = (amount.value, amount.interval.low, amount.interval.high)
        value, low, high = (f"{round(factor * number, digits) + 0:.{digits}f}" for number in values)  # + 0: no "-0.00"
        holm = f", Holm-corrected {format_p(found.holm_p)}" if len(self.differences) > 1 else ""
        test = f"{'McNemar' if self.uses_mcnemar else 'bootstrap'} p {_with_equals(found.p)}{holm}"
        interval = f"(95 % CI {low} to {high}; {test})"
        if found.is_significant:
            return f"{letter} is {word} than {baseline} by {value} {unit} {interval}"
        if amount.value == 0:
            return f"no difference between {letter} and {baseline}: the scores are equal {interval}"
        return f"no significant difference: {letter} is {word} than {baseline} by {value} {unit} {interval}"

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        content = {name: value for name, value in vars(self).items() if name != "runs"}
        runs = [
            {"letter": run.letter, "path": str(run.path), "kind": run.kind, "slug": run.slug, "seconds": run.seconds}
            for run in self.runs
        ]
        statistics = asdict(Statistics(**{name: content[name] for name in Statistics.__dataclass_fields__}))
        return {"runs": runs, **content, **statistics, "verdicts": self.verdicts}


def format_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _with_equals(p: float) -> str:
    return format_p(p) if p < 0.001 else f"= {format_p(p)}"


def read_config(run: Run) -> dict[str, Any]:
    """The resolved config; empty if it cannot be read."""
    content = read_saved(run.config)
    return content if isinstance(content, dict) else {}


def damaged_config(run: Run, command: str) -> RunError:
    return RunError(
        f"{run.config} is damaged; expected the resolved config that {command} writes: restore a copy of it"
    )


def not_trained(run: Run, command: str) -> str:
    resume = run.state.get("command") if run.checkpoints else None
    return f"{run.path} is not trained yet; resume with: {resume or command}"


def read_versions(run: Run) -> dict[str, str]:
    """Versions of the libraries, and the precision of the computation."""
    versions = {name: str(version) for name, version in run.versions.items()}
    precision = (run.state.get("best") or {}).get("precision")
    return {**versions, **({"computed in": str(precision)} if precision else {})}


def read_seconds(runs: Sequence[Run]) -> dict[str, float | None]:
    timings = [run.timings for run in runs]
    return {
        part: sum(timing[part] for timing in timings) if all(part in timing for timing in timings) else None
        for part in TIMED_PARTS
    }


def note_left_out(candidates: Sequence[Candidate], left_out: Sequence[int], common: str) -> list[str]:
    """`common` describes what is compared, such as `300 rows`."""
    if not any(left_out):
        return []
    counts = ", ".join(f"{n:,} of {run.letter}" for run, n in zip(candidates, left_out, strict=True) if n)
    return [f"compared on the {common} common to {'both' if len(candidates) == 2 else 'all'}; left out: {counts}"]


def few(names: Sequence[str]) -> str:
    """The first three names."""
    return ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
