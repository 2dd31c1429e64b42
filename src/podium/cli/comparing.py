"""`podium compare`: which of several runs is better, and whether that can be trusted."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from podium.cli.options import Debug, Runs, make_console
from podium.config.differences import NOTHING, Difference
from podium.files import write_json
from podium.steps.comparing import Compared, as_content, compare_runs
from podium.steps.contenders import TIMED

if TYPE_CHECKING:
    from podium.ensemble.comparing import Against, Interval

SHARES = ("accuracy", "balanced_accuracy")
"""Metrics that are a share of rows: their differences are told in points, hundredths of it."""
COMMIT_LETTERS = 10

RunFolders = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN",
        help="Two folders or more, here or in the folder of runs: a member's, one of its folds, a blend's. The first is"
        " the baseline.",
    ),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write all of it there too.", show_default=False)
]


def compare(
    run: RunFolders,
    runs: Runs = Path("runs"),
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Say which of several runs is better, whether that can be trusted, what differs between them, what each cost.

    Their out-of-fold predictions are compared, on the rows that all of them have.

    podium compare runs/xception-1a2b3c4d runs/effnet_b3-5e6f7a8b
    """
    if len(run) < 2:
        raise typer.BadParameter("give two runs or more; the first is the baseline")
    console = make_console()
    if not console.is_terminal:
        console.width = 1000  # in a log lines are never broken

    def progress(rounds: Sequence[int]) -> Iterable[int]:
        if not console.is_terminal:
            return rounds
        return track(rounds, "resampling the rows", console=console, transient=True)

    compared = compare_runs(run, runs, progress)
    if json_file:
        write_json(json_file, as_content(compared))
    _print_runs(compared, console)
    _print_scores(compared, console)
    _print_labels(compared, console)
    _print_differences(compared, console)
    _print_cost(compared, console)
    console.print()
    for note in compared.notes:
        _say(f"note: {note}", console)
    for line in verdicts(compared):
        _say(line, console)


def _print_runs(compared: Compared, console: Console) -> None:
    table = _table("", "", "")
    for one in compared.contenders:
        kind = "blend" if one.is_blend else f"{one.folds} fold{'s' * (one.folds != 1)}"
        table.add_row(*_texts([one.letter, str(one.path), kind]))
    console.print(table)


def _print_scores(compared: Compared, console: Console) -> None:
    """Each run's score, and how much it is above or below the first's."""
    result, first = compared.result, compared.contenders[0].letter
    direction = "higher" if compared.metric.higher_is_better else "lower"
    _title(f"{compared.metric.name} of {result.rows:,} rows, out of fold ({direction} is better)", console)
    table = _table("", "score", "95 % interval", f"less {first}", "95 % interval", numbers=True)
    for number, (one, score) in enumerate(zip(compared.contenders, result.scores, strict=True)):
        cells = [one.letter, f"{score.value:.4f}", _range(score.interval)]
        if number:
            difference = result.others[number - 1].difference
            cells += [f"{difference.value:+.4f}", _range(difference.interval, "+.4f")]
        table.add_row(*_texts(cells))
    console.print(table)
    _say(
        f"  intervals by {result.rounds:,} resamples of the rows, the same for every run: they say what other pictures"
        " would change, not what training again would",
        console,
    )


def _print_labels(compared: Compared, console: Console) -> None:
    """McNemar's test of the most probable classes."""
    from podium.ensemble.comparing import CHANCE, FEWEST_FOR_CHI_SQUARED

    first, *others = [one.letter for one in compared.contenders]
    only_other = f"only {others[0]}" if len(others) == 1 else "only it"
    _title("rows whose most probable class is the right one, by McNemar's paired test", console)
    table = _table("", "both right", f"only {first}", only_other, "both wrong", "p", "test", numbers=True)
    for letter, other in zip(others, compared.result.others, strict=True):
        labels = other.labels
        counts = (labels.both_right, labels.only_first, labels.only_other, labels.both_wrong)
        test = "exact" if labels.is_exact else "chi-squared"
        table.add_row(*_texts([letter, *(f"{count:,}" for count in counts), _chance(labels.p), test]))
    console.print(table)
    _say(
        f"  exact (binomial) where fewer than {FEWEST_FOR_CHI_SQUARED} rows are right in one of the two alone, else"
        " chi-squared with the correction for continuity; better or worse is said where p is below"
        f" {CHANCE} and the interval of the difference leaves 0 out",
        console,
    )


def _print_differences(compared: Compared, console: Console) -> None:
    found = [*compared.settings, *(_with_short_commits(one) for one in compared.versions)]
    if not found:
        _title("no difference in configs and versions", console)
        return
    _title("what differs in configs and versions", console)
    table = _table("", *(one.letter for one in compared.contenders))
    for one in found:
        table.add_row(*_texts([one.key, *one.values]))
    console.print(table)


def _with_short_commits(one: Difference) -> Difference:
    if one.key != "commit":
        return one
    return Difference(one.key, [_short_commit(value) for value in one.values])


def _short_commit(text: str) -> str:
    commit, plus, changed = text.partition("+")
    return commit[:COMMIT_LETTERS] + plus + changed


def _print_cost(compared: Compared, console: Console) -> None:
    _title("cost in minutes, all folds together", console)
    table = _table("", *TIMED, "together", "a fold", numbers=True)
    for one in compared.contenders:
        parts = [one.seconds[part] for part in TIMED]
        known = [part for part in parts if part is not None]
        together = sum(known) if len(known) == len(parts) else None
        a_fold = None if together is None else together / one.folds
        table.add_row(*_texts([one.letter, *map(_minutes, [*parts, together, a_fold])]))
    console.print(table)


def verdicts(compared: Compared) -> list[str]:
    """In words, what follows for each run but the first."""
    others, letters = compared.result.others, [one.letter for one in compared.contenders]
    lines = [_verdict(other, letter, letters[0], compared) for letter, other in zip(letters[1:], others, strict=True)]
    if len(others) > 1:
        lines.insert(
            0,
            f"{len(others)} runs against {letters[0]}: the more of them, the likelier one has a small p by chance; so p"
            " is corrected by Holm's method, and that decides",
        )
    return lines


def _verdict(other: "Against", letter: str, first: str, compared: Compared) -> str:
    way, told = ("better", other.gain) if other.gain.value >= 0 else ("worse", -other.gain)
    if compared.metric.name in SHARES:
        unit, factor, digits = "points", 100, 2
    else:
        unit, factor, digits = f"in {compared.metric.name}", 1, 4
    values = (told.value, told.interval.low, told.interval.high)
    amount, low, high = (f"{round(factor * value, digits) + 0:.{digits}f}" for value in values)  # no minus before a 0
    test = "McNemar p" if compared.metric.name == "accuracy" else "resampling p"
    holm = f", by Holm {_chance(other.holm)}" if len(compared.result.others) > 1 else ""
    basis = f"(95 %: {low} to {high}; {test} {_equal(other.p)}{holm})"
    if other.is_proven:
        return f"{letter} is {way} than {first} by {amount} {unit} {basis}"
    if told.value == 0:
        return f"{letter} and {first} cannot be told apart: they score the same {basis}"
    return (
        f"{letter} and {first} cannot be told apart: {letter} is {way} by {amount} {unit}, which may be chance {basis}"
    )


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _equal(p: float) -> str:
    return _chance(p) if p < 0.001 else f"= {_chance(p)}"


def _range(interval: "Interval", form: str = ".4f") -> str:
    return f"{interval.low:{form}} to {interval.high:{form}}"


def _minutes(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{seconds / 60:.1f}"


def _table(*headings: str, numbers: bool = False) -> Table:
    """Numbers stay whole; where text finds no room its lines are broken."""
    table = Table(box=None, pad_edge=False, show_header=any(headings))
    for number, heading in enumerate(headings):
        right = numbers and number > 0
        table.add_column(heading, overflow="fold", justify="right" if right else "left", no_wrap=right)
    return table


def _texts(cells: Iterable[str]) -> list[Text]:
    """Brackets of a list are no markup."""
    return [Text(cell) for cell in cells]


def _title(text: str, console: Console) -> None:
    console.print()
    _say(text, console)


def _say(text: str, console: Console) -> None:
    console.print(text, markup=False)
