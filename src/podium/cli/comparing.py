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
from podium.workflows.candidates import TIMED
from podium.workflows.compare import Compared, as_content, compare_runs
from podium.workflows.compare_detectors import PARTS

if TYPE_CHECKING:
    from podium.evaluation.statistics import Against, Interval, Score

COMMIT_LETTERS = 10

RunFolders = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN",
        help="Two folders or more, here or in the folder of runs: a member's, one of its folds, a blend's; or"
        " detectors'. The first is the baseline.",
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        metavar="PART",
        help="Of detectors: test or validation. Else test where all have been evaluated on it.",
        show_default=False,
    ),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write all of it there too.", show_default=False)
]


def compare(
    run: RunFolders,
    part: Part = None,
    runs: Runs = Path("runs"),
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Say which of several runs is better, whether that can be trusted, what differs between them, what each cost.

    Classifiers by their out-of-fold predictions, on the rows that all of them have; detectors by their AP, on the
    images that all of them have searched.

    podium compare runs/xception-1a2b3c4d runs/effnet_b3-5e6f7a8b
    """
    if len(run) < 2:
        raise typer.BadParameter("give two runs or more; the first is the baseline")
    if part is not None and part not in PARTS:
        raise typer.BadParameter(f"expected {' or '.join(PARTS)}: got {part!r}", param_hint="--part")
    console = make_console()
    if not console.is_terminal:
        console.width = 1000  # in a log lines are never broken

    def progress(rounds: Sequence[int]) -> Iterable[int]:
        if not console.is_terminal:
            return rounds
        return track(rounds, "resampling", console=console, transient=True)

    compared = compare_runs(run, runs, part, progress)
    if json_file:
        write_json(json_file, as_content(compared))
    _print_runs(compared, console)
    _print_scores(compared, console)
    _print_mcnemar(compared, console)
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
        table.add_row(*_texts([one.letter, str(one.path), one.what]))
    console.print(table)


def _print_scores(compared: Compared, console: Console) -> None:
    """Each run's score, and how much it is above or below the first's, by the metric that decides and by others."""
    judgement, result = compared.judgement, compared.judgement.result
    direction = "higher" if judgement.higher_is_better else "lower"
    _title(
        f"{judgement.metric} of {result.rows:,} {judgement.drawn}, {judgement.where} ({direction} is better)", console
    )
    chances = None if judgement.by_mcnemar else [other.p for other in result.others]
    _print_metric(compared, result.scores, [other.difference for other in result.others], chances, console)
    for one in result.beside:
        _title(f"{one.name}, beside it", console)
        _print_metric(compared, one.scores, one.differences, one.chances, console)
    _say(
        f"  intervals by {result.rounds:,} resamples of the {judgement.drawn}, the same for every run: they say what"
        " other images would change, not what training again would",
        console,
    )


def _print_metric(
    compared: Compared,
    scores: "Sequence[Score]",
    differences: "Sequence[Score]",
    chances: Sequence[float] | None,
    console: Console,
) -> None:
    """`chances` are the p of the resamples, where they are told."""
    first = compared.contenders[0].letter
    p_heading = [] if chances is None else ["p"]
    table = _table("", "score", "95 % interval", f"less {first}", "95 % interval", *p_heading, numbers=True)
    for number, (one, score) in enumerate(zip(compared.contenders, scores, strict=True)):
        cells = [one.letter, f"{score.value:.4f}", _range(score.interval)]
        if number:
            difference = differences[number - 1]
            cells += [f"{difference.value:+.4f}", _range(difference.interval, "+.4f")]
            cells += [] if chances is None else [_chance(chances[number - 1])]
        table.add_row(*_texts(cells))
    console.print(table)


def _print_mcnemar(compared: Compared, console: Console) -> None:
    from podium.evaluation.statistics import CHANCE, FEWEST_FOR_CHI_SQUARED

    judgement = compared.judgement
    first, *others = [one.letter for one in compared.contenders]
    only_other = f"only {others[0]}" if len(others) == 1 else "only it"
    _title(f"{judgement.question}, by McNemar's paired test", console)
    right, wrong = f"both {judgement.right}", f"both {judgement.wrong}"
    table = _table("", right, f"only {first}", only_other, wrong, "p", "test", numbers=True)
    for letter, other in zip(others, judgement.result.others, strict=True):
        found = other.mcnemar
        counts = (found.both_right, found.only_first, found.only_other, found.both_wrong)
        test = "exact" if found.is_exact else "chi-squared"
        table.add_row(*_texts([letter, *(f"{count:,}" for count in counts), _chance(found.p), test]))
    console.print(table)
    decides = "p" if judgement.by_mcnemar else "the p of the resamples"
    _say(
        f"  exact (binomial) where fewer than {FEWEST_FOR_CHI_SQUARED} {judgement.alone}, else chi-squared with the"
        f" correction for continuity; better or worse is said where {decides} is below {CHANCE} and the interval of the"
        " difference leaves 0 out",
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
    has_folds = any(one.folds > 1 for one in compared.contenders)
    _title("cost in minutes" + ", all folds together" * has_folds, console)
    table = _table("", *TIMED, "together", *["a fold"] * has_folds, numbers=True)
    for one in compared.contenders:
        parts = [one.seconds[part] for part in TIMED]
        known = [part for part in parts if part is not None]
        together = sum(known) if len(known) == len(parts) else None
        a_fold = None if together is None or one.is_blend else together / one.folds
        table.add_row(*_texts([one.letter, *map(_minutes, [*parts, together, *[a_fold] * has_folds])]))
    console.print(table)


def verdicts(compared: Compared) -> list[str]:
    """In words, what follows for each run but the first."""
    others, letters = compared.judgement.result.others, [one.letter for one in compared.contenders]
    lines = [_verdict(other, letter, letters[0], compared) for letter, other in zip(letters[1:], others, strict=True)]
    if len(others) > 1:
        lines.insert(
            0,
            f"{len(others)} runs against {letters[0]}: the more of them, the likelier one has a small p by chance; so p"
            " is corrected by Holm's method, and that decides",
        )
    return lines


def _verdict(other: "Against", letter: str, first: str, compared: Compared) -> str:
    judgement = compared.judgement
    way, told = ("better", other.gain) if other.gain.value >= 0 else ("worse", -other.gain)
    factor, digits = (100, 2) if judgement.is_share else (1, 4)
    values = (told.value, told.interval.low, told.interval.high)
    amount, low, high = (f"{round(factor * value, digits) + 0:.{digits}f}" for value in values)  # no minus before a 0
    test = "McNemar p" if judgement.by_mcnemar else "resampling p"
    holm = f", by Holm {_chance(other.holm)}" if len(judgement.result.others) > 1 else ""
    basis = f"(95 %: {low} to {high}; {test} {_equal(other.p)}{holm})"
    if other.is_proven:
        return f"{letter} is {way} than {first} by {amount} {judgement.unit} {basis}"
    if told.value == 0:
        return f"{letter} and {first} cannot be told apart: they score the same {basis}"
    return (
        f"{letter} and {first} cannot be told apart: {letter} is {way} by {amount} {judgement.unit}, which may be"
        f" chance {basis}"
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
