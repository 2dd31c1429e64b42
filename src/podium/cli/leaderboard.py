"""`podium submit` and `podium board`: onto the leaderboard, and what it says."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from podium.cli.options import Data, Debug, Runs, make_console
from podium.cli.submissions import CompetitionFile, SampleFile, competition_named, competition_of
from podium.config.competition import Competition
from podium.config.kaggle_names import SLUG, KernelRef
from podium.config.loading import load_competition
from podium.errors import PodiumError, SubmissionError
from podium.evaluation.metrics import METRICS
from podium.kaggle.records import read_record
from podium.paths import data_folder, submissions_folder
from podium.submission.board import (
    agreement,
    agreement_lines,
    distinct,
    rule_lines,
    short_name,
    spell_score,
    standing_lines,
    standings,
    with_both,
)
from podium.submission.ledger import Ledger, Row
from podium.workflows.download import known_competitions
from podium.workflows.submission import print_problems, submission_problems

Message = Annotated[
    str, typer.Option("--message", "-m", metavar="TEXT", help="What is new in it: Kaggle and the ledger keep it.")
]
Kernel = Annotated[
    str | None,
    typer.Option(
        metavar="OWNER/SLUG", help="Instead of FILE: submit what a kernel left, where only that is taken.",
        show_default=False,
    ),
]  # fmt: skip
Version = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Which version of the kernel.", show_default=False)
]
OutputName = Annotated[
    str | None,
    typer.Option("--file", metavar="NAME", help="Which of the files that the kernel left.", show_default=False),
]
Force = Annotated[
    bool, typer.Option("--force", help="Send it whatever podium has against it; Kaggle may still refuse.")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the score.")]
CompetitionName = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|SLUG", help="Which competition. Else the one submitted to last.", show_default=False
    ),
]  # fmt: skip
Sync = Annotated[bool, typer.Option("--sync", help="Ask Kaggle first: scores, places, submissions made elsewhere.")]
Out = Annotated[Path | None, typer.Option(metavar="FILE.png", help="Where the chart goes. [submissions/board.png]")]
Last = Annotated[int, typer.Option(metavar="N", min=1, help="Of so many of the newest, say which to trust.")]


def submit(
    message: Message,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A submission CSV.", show_default=False)] = None,
    competition: CompetitionFile = None,
    sample: SampleFile = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    kernel: Kernel = None,
    version: Version = None,
    output: OutputName = None,
    force: Force = False,
    wait: Wait = True,
    debug: Debug = False,
) -> None:
    """Check a CSV, send it to the leaderboard once, wait for its score, and note all of it in the ledger.

    podium submit submissions/podium-demo-cars_demo__20260101-120000.csv -m "two members"

    podium submit --kernel OWNER/SLUG --version 3 --file submission.csv -m "two members"
    """
    from podium.workflows import submit as steps

    console = make_console()
    parcel: steps.CsvFile | steps.KernelOutput
    if kernel is not None:
        if file is not None:
            raise typer.BadParameter("give FILE or --kernel, not both")
        if output is None:
            raise typer.BadParameter("--kernel needs --file too")
        ref = _version_of(kernel, version)
        slug = competition_named(competition).slug if competition else _competition_of(ref, runs)
        if not force and (".partial." in output or steps.name_problems(output)):
            raise SubmissionError(
                f"{output} is partial or of a dry run, as its name says; submit what the whole chain made"
            )
        parcel = steps.kernel_output(slug, ref, output, runs)
    else:
        if file is None:
            raise typer.BadParameter("give a submission CSV, or --kernel, --version and --file")
        if version is not None or output is not None:
            raise typer.BadParameter("--version and --file go with --kernel")
        if not file.is_file():
            raise SubmissionError(f"no file {file} to submit; podium blend and podium run write one to submissions/")
        asked = competition_named(competition) if competition else competition_of(file)
        _check(file, asked, sample, data, force, console)
        parcel = steps.csv_file(asked.slug, file, runs)
    row = steps.submit(parcel, message, console, force=force, wait=wait)
    if row.status == "pending":
        console.print("not waited for: podium board --sync asks for its score")
    else:
        console.print(f"{steps.score_line(row)}; {Ledger().path} has its row")


def _competition_of(ref: KernelRef, runs: Path) -> str:
    """What a kernel that was pushed from here is attached to."""
    attached = read_record(runs, ref).facts.get("metadata", {}).get("competition_sources", [])
    if len(attached) != 1:
        raise typer.BadParameter(f"{ref} was not pushed from here for one competition: say --competition too")
    return str(attached[0])


def _version_of(kernel: str, version: int | None) -> KernelRef:
    ref = KernelRef.parse(kernel)
    if version is not None and ref.version not in (None, version):
        raise typer.BadParameter(f"--kernel names version {ref.version}, --version {version}: give one of them")
    if version is None and ref.version is None:
        raise typer.BadParameter("--kernel needs --version too: a submission is of one version")
    return ref if version is None else ref.at(version)


def _check(
    file: Path, asked: Competition, sample: Path | None, data: Path | None, force: bool, console: Console
) -> None:
    from podium.workflows.submit import name_problems

    try:
        place = sample or data_folder(asked.slug, data) / asked.submission.sample
        problems = submission_problems(file, asked, place)
    except PodiumError as error:
        if not force:
            raise
        problems = [f"not checked: {error}"]
    problems = [*name_problems(file.name), *problems]
    if not force:
        print_problems(file, problems, console)
    for problem in problems if force else ():
        console.print(f"{file}: {problem} (sent all the same: --force)", markup=False)


def board(
    competition: CompetitionName = None,
    sync: Sync = False,
    runs: Runs = Path("runs"),
    out: Out = None,
    last: Last = 10,
    debug: Debug = False,
) -> None:
    """Tell what was submitted, how cross-validation and leaderboard go together, and which submission to trust.

    Without --sync it asks nobody. The same is drawn in submissions/board.png.

    podium board --competition podium-demo-cars --sync
    """
    console, ledger = make_console(), Ledger()
    slug, higher_is_better = _competition(competition, ledger)
    if sync:
        _sync(slug, higher_is_better, runs, ledger, console)
    rows = sorted(ledger.rows(slug), key=lambda row: row.time)
    if not rows:
        console.print(f"nothing was submitted to {slug} yet; podium submit FILE -m TEXT does, board --sync asks Kaggle")
        return
    metric = next((row["metric"] for row in reversed(rows) if row["metric"]), "")
    if metric in METRICS:
        higher_is_better = METRICS[metric].higher_is_better
    _print_table(rows, metric, higher_is_better, console)
    _print_trust(rows, metric, higher_is_better, last, out or submissions_folder() / "board.png", console)
    _print_others(rows, ledger, slug, console)


def _competition(name: str | None, ledger: Ledger) -> tuple[str, bool | None]:
    """The slug, and which way its metric is better, if a competition file here says so."""
    if name is not None and not SLUG.fullmatch(name):
        asked = load_competition(Path(name))
        return asked.slug, METRICS[asked.metric].higher_is_better
    if name is None:
        rows = sorted(ledger.rows(), key=lambda row: row.time)
        if not rows:
            raise SubmissionError(
                f"{ledger.path} has no row yet, so the competition must be named: podium board --competition SLUG"
                " --sync brings in what was sent from elsewhere, podium submit FILE -m TEXT sends"
            )
        name = rows[-1]["competition"]
    known = known_competitions().get(name)
    return name, METRICS[known.competition.metric].higher_is_better if known else None


def _sync(slug: str, higher_is_better: bool | None, runs: Path, ledger: Ledger, console: Console) -> None:
    from podium.workflows.submit import sync

    found = sync(slug, higher_is_better, runs, ledger)
    console.print(
        f"{slug}: {found.added} submissions made elsewhere brought in, {found.changed} changed; {found.teams:,} teams"
        " on the leaderboard"
    )


def _print_table(rows: Sequence[Row], metric: str, higher_is_better: bool | None, console: Console) -> None:
    better = {True: ", higher is better", False: ", lower is better", None: ""}[higher_is_better]
    if not console.is_terminal:
        console.width = 1000  # in a log lines are never broken
    table = Table(
        title=f"submissions to {rows[0]['competition']} ({metric or 'metric unknown'}{better})",
        title_justify="left", box=None, pad_edge=False,
    )  # fmt: skip
    for heading in ("time (UTC)", "file", "message"):
        table.add_column(heading, overflow="fold")
    for heading in ("cross-validation", "public", "private", "place"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = [f"{row.time:%Y-%m-%d %H:%M}", short_name(row), row["message"], spell_score(row), _public(row)]
        private = "" if row.private_score is None else f"{row.private_score:.5f}"
        place = f"{row['place']} of {row['teams']}" if row["place"] else ""
        table.add_row(*map(Text, [*cells, private, place]))
    console.print(table)


def _public(row: Row) -> str:
    if row.public_score is not None:
        return f"{row.public_score:.5f}"
    return {"complete": "", "error": "not scored", "failed": "never sent"}.get(row.status, row.status)


def _print_trust(
    rows: Sequence[Row], metric: str, higher_is_better: bool | None, last: int, out: Path, console: Console
) -> None:
    both, found = with_both(rows), agreement(rows)
    lines = agreement_lines(found)
    ranked = distinct([row for row in rows if row.cross_validation is not None and row.status == "complete"])[-last:]
    best = None
    if not ranked:
        lines.append("which to trust: nothing says, since none that is scored has a cross-validation score")
    elif higher_is_better is None:
        lines.append("which to trust: no competition file says which way is better; name one with --competition FILE")
    else:
        order = standings(ranked, higher_is_better, found.is_proven)
        best = order[0].row
        lines += [*rule_lines(found), *standing_lines(order, short_name)]
    if both:
        from podium.submission.chart import draw_board

        draw_board(both, out, metric=metric, higher_is_better=higher_is_better, best=best)
        lines.append(f"chart: {out}")
    else:
        lines.append("no chart: no submission has both scores yet")
    for line in lines:
        console.print(line, markup=False)


def _print_others(rows: Sequence[Row], ledger: Ledger, slug: str, console: Console) -> None:
    lost = sum(row.status == "uploading" for row in rows)
    if lost:
        console.print(f"{lost} broken off while it was sent: podium board --sync asks Kaggle whether it has it")
    others = Counter(row["competition"] for row in ledger.rows() if row["competition"] != slug)
    if others:
        told = ", ".join(f"{name} ({count})" for name, count in sorted(others.items()))
        console.print(f"also in {ledger.path}: {told}; name one with --competition")
