"""`podium compare`: which of several runs is better."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from podium.cli.options import Debug, Json, Runs, make_console, print_json
from podium.config.differences import NOTHING

if TYPE_CHECKING:
    from podium.evaluation.comparison import Comparison
    from podium.evaluation.statistics import Interval, Score

COMMIT_DIGITS = 10

RunFolders = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN",
        help="Two or more folders, as paths or names in the folder of runs: of members, folds and blends, or of"
        " detectors. The first is the baseline.",
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        metavar="PART",
        help="Compare detectors on this part: test or validation. Default: test if all are evaluated on it.",
        show_default=False,
    ),
]


def compare(
    run: RunFolders,
    part: Part = None,
    runs: Runs = Path("runs"),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare runs: which is better, is the difference significant, which settings differ, how long each took.

    Classifiers are compared by their out-of-fold predictions on common rows, detectors by their AP on common images.

    podium compare runs/xception-1a2b3c4d runs/effnet_b3-5e6f7a8b
    """
    from podium.detection.compare_detectors import PARTS
    from podium.workflows import compare as workflow

    if len(run) < 2:
        raise typer.BadParameter("expected two runs or more; the first is the baseline")
    if part is not None and part not in PARTS:
        raise typer.BadParameter(f"expected {' or '.join(PARTS)}, got {part!r}", param_hint="--part")
    console = make_console()
    if not console.is_terminal:
        console.width = 1000  # do not wrap lines in a log

    def progress(resamples: Sequence[int]) -> Iterable[int]:
        if json or not console.is_terminal:
            return resamples
        return track(resamples, "resampling", console=console, transient=True)

    comparison = workflow.compare(run, folder=runs, part=part, progress=progress)
    if json:
        print_json(comparison.to_dict())
    else:
        _print(comparison, console)


def _print(comparison: "Comparison", console: Console) -> None:
    table = _table("", "", "")
    for run in comparison.runs:
        _add_row(table, run.letter, str(run.path), run.description)
    console.print(table)
    _print_scores(comparison, console)
    _print_mcnemar(comparison, console)
    _print_differences(comparison, console)
    _print_times(comparison, console)
    console.print()
    for note in comparison.notes:
        console.print(f"note: {note}")
    if len(comparison.differences) > 1:
        console.print(
            f"{len(comparison.differences)} runs are compared with {comparison.runs[0].letter}: with more"
            " comparisons a small p is more likely by chance, so p-values are corrected by Holm's method"
        )
    for verdict in comparison.verdicts:
        console.print(verdict)


def _print_scores(comparison: "Comparison", console: Console) -> None:
    rows, where = ("images", f"{comparison.part} part") if comparison.part else ("rows", "out of fold")
    direction = "higher" if comparison.higher_is_better else "lower"
    _print_title(f"{comparison.metric} on {comparison.count:,} {rows}, {where} ({direction} is better)", console)
    differences = [difference.difference for difference in comparison.differences]
    p_values = None if comparison.uses_mcnemar else [difference.p for difference in comparison.differences]
    _print_metric(comparison, comparison.scores, differences, p_values, console)
    for other in comparison.secondary:
        _print_title(other.metric, console)
        _print_metric(comparison, other.scores, other.differences, other.p_values, console)
    console.print(
        f"  intervals from {comparison.resamples:,} bootstrap resamples of the {rows}, the same for every run; they"
        " reflect the choice of images, not the randomness of training"
    )


def _print_metric(
    comparison: "Comparison",
    scores: "Sequence[Score]",
    differences: "Sequence[Score]",
    p_values: Sequence[float] | None,
    console: Console,
) -> None:
    from podium.evaluation.comparison import format_p

    baseline = comparison.runs[0].letter
    table = _table(
        "", "score", "95 % CI", f"minus {baseline}", "95 % CI", *["p"] * (p_values is not None), numbers=True
    )
    for number, (run, score) in enumerate(zip(comparison.runs, scores, strict=True)):
        cells = [run.letter, f"{score.value:.4f}", _format_interval(score.interval)]
        if number:
            difference = differences[number - 1]
            cells += [f"{difference.value:+.4f}", _format_interval(difference.interval, "+.4f")]
            cells += [] if p_values is None else [format_p(p_values[number - 1])]
        _add_row(table, *cells)
    console.print(table)


def _print_mcnemar(comparison: "Comparison", console: Console) -> None:
    if any(difference.mcnemar is None for difference in comparison.differences):
        return  # the truth of a row is not one class
    from podium.evaluation.comparison import format_p
    from podium.evaluation.statistics import MIN_FOR_CHI_SQUARED, SIGNIFICANCE

    baseline, *others = [run.letter for run in comparison.runs]
    if comparison.part:
        pairs = zip(comparison.runs, comparison.thresholds, strict=True)
        thresholds = ", ".join(f"{run.letter} {threshold:.3f}" for run, threshold in pairs)
        title, correct, wrong = f"boxes hit at IoU 0.5, with score thresholds {thresholds}", "hit", "missed"
    else:
        title, correct, wrong = "rows classified correctly", "correct", "wrong"
    _print_title(f"{title}: McNemar's test", console)
    only_run = f"only {others[0]}" if len(others) == 1 else "only this run"
    table = _table("", f"both {correct}", f"only {baseline}", only_run, f"both {wrong}", "p", "test", numbers=True)
    for letter, difference in zip(others, comparison.differences, strict=True):
        test = difference.mcnemar
        assert test is not None
        counts = (test.both_correct, test.only_baseline, test.only_run, test.both_wrong)
        kind = "exact" if test.is_exact else "chi-squared"
        _add_row(table, letter, *(f"{count:,}" for count in counts), format_p(test.p), kind)
    console.print(table)
    deciding = "this p" if comparison.uses_mcnemar else "the bootstrap p"
    console.print(
        f"  exact (binomial) test if fewer than {MIN_FOR_CHI_SQUARED} are {correct} in only one of the two, else"
        f" chi-squared with continuity correction; a difference is significant if {deciding} is below {SIGNIFICANCE}"
        " and its interval excludes 0"
    )


def _print_differences(comparison: "Comparison", console: Console) -> None:
    differences = {**comparison.config_differences, **comparison.version_differences}
    if not differences:
        are_mixed = len({run.kind for run in comparison.runs}) > 1
        among = " among runs of one kind: a blend has no keys in common with a member" * are_mixed
        _print_title(f"no differences in configs and versions{among}", console)
        return
    _print_title("differences in configs and versions", console)
    table = _table("", *(run.letter for run in comparison.runs))
    for key, values in differences.items():
        _add_row(table, key, *(map(_short_commit, values) if key == "commit" else values))
    console.print(table)


def _short_commit(text: str) -> str:
    commit, plus, changed = text.partition("+")
    return commit[:COMMIT_DIGITS] + plus + changed


def _print_times(comparison: "Comparison", console: Console) -> None:
    has_folds = any(len(run.folders) > 1 for run in comparison.runs)
    _print_title("time in minutes" + ", all folds together" * has_folds, console)
    parts = list(comparison.runs[0].seconds)
    table = _table("", *parts, "total", *["per fold"] * has_folds, numbers=True)
    for run in comparison.runs:
        seconds = [run.seconds[part] for part in parts]
        known = [part for part in seconds if part is not None]
        total = sum(known) if len(known) == len(seconds) else None
        per_fold = None if total is None or run.kind == "blend" else total / len(run.folders)
        _add_row(table, run.letter, *map(_format_minutes, [*seconds, total, *[per_fold] * has_folds]))
    console.print(table)


def _format_interval(interval: "Interval", form: str = ".4f") -> str:
    return f"{interval.low:{form}} to {interval.high:{form}}"


def _format_minutes(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{seconds / 60:.1f}"


def _table(*headings: str, numbers: bool = False) -> Table:
    """Long text is wrapped, numbers are not."""
    table = Table(box=None, pad_edge=False, show_header=any(headings))
    for number, heading in enumerate(headings):
        right = numbers and number > 0
        table.add_column(heading, overflow="fold", justify="right" if right else "left", no_wrap=right)
    return table


def _add_row(table: Table, *cells: str) -> None:
    table.add_row(*map(Text, cells))  # the brackets of a list are not markup


def _print_title(text: str, console: Console) -> None:
    console.print()
    console.print(text)
