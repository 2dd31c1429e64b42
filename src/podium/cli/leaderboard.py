"""`podium check`, `podium submit` and `podium board`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from podium.cli.options import Data, Debug, Json, Runs, make_console, print_json
from podium.config.kaggle_names import KernelRef
from podium.submission.board import (
    agreement_lines,
    format_score,
    rule_lines,
    short_name,
    standing_lines,
)
from podium.submission.check import report_problems
from podium.submission.ledger import Ledger, Row
from podium.workflows import leaderboard
from podium.workflows import submit as submissions
from podium.workflows.check import check_submission
from podium.workflows.leaderboard import Board

CompetitionFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The competition file or its slug. Default: that of the blend that wrote the CSV, else the slug that its"
        " name starts with.",
        show_default=False,
    ),
]
SampleFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The sample submission. Default: the one in the competition's data.",
        show_default=False,
    ),
]
Message = Annotated[
    str, typer.Option("--message", "-m", metavar="TEXT", help="A description, for Kaggle and the ledger.")
]
Kernel = Annotated[
    str | None,
    typer.Option(
        metavar="OWNER/SLUG",
        help="Submit the output of a kernel instead of FILE, for code competitions.",
        show_default=False,
    ),
]
Version = Annotated[int | None, typer.Option(metavar="N", min=1, help="The kernel's version.", show_default=False)]
OutputName = Annotated[
    str | None, typer.Option("--file", metavar="NAME", help="The file in the kernel's output.", show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Submit despite problems, or again; Kaggle may still reject it.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the score.")]
CompetitionName = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|SLUG", help="The competition. Default: that of the latest submission.", show_default=False
    ),
]  # fmt: skip
Sync = Annotated[
    bool, typer.Option("--sync", help="Update from Kaggle first: scores, places, submissions made elsewhere.")
]
Out = Annotated[
    Path | None, typer.Option(metavar="FILE.png", help="The chart's file.", show_default="submissions/board.png")
]
Last = Annotated[int, typer.Option(metavar="N", min=1, help="Rank this many of the newest submissions.")]


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A submission CSV.")],
    competition: CompetitionFile = None,
    sample: SampleFile = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Check a submission against the sample: columns, ids, predictions, duplicates. Reports all problems at once.

    podium check submissions/podium-demo-cars_demo__20260101-120000.csv
    """
    problems = check_submission(file, competition, sample=sample, data=data, runs=runs)
    if json:
        print_json({"file": file, "valid": not problems, "problems": problems})
        raise typer.Exit(1 if problems else 0)
    report_problems(file, problems, make_console())


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
    """Check a CSV, submit it once, wait for its score, and record it in the ledger.

    podium submit submissions/podium-demo-cars_demo__20260101-120000.csv -m "two members"

    podium submit --kernel OWNER/SLUG --version 3 --file submission.csv -m "two members"
    """
    console = make_console()
    if kernel is not None:
        if file is not None:
            raise typer.BadParameter("give FILE or --kernel, not both")
        if output is None:
            raise typer.BadParameter("--kernel requires --file")
        ref = _with_version(kernel, version)
        row = submissions.submit_kernel(
            ref, output, message, competition, runs=runs, force=force, wait=wait, console=console
        )
    else:
        if file is None:
            raise typer.BadParameter("give a submission CSV, or --kernel, --version and --file")
        if version is not None or output is not None:
            raise typer.BadParameter("--version and --file require --kernel")
        row = submissions.submit(
            file, message, competition, sample=sample, data=data, runs=runs, force=force, wait=wait, console=console
        )
    if row.status == "pending":
        console.print("its score is not known yet: update it with podium board --sync")
    else:
        console.print(f"{submissions.score_line(row)}; recorded in {Ledger().path}")


def _with_version(kernel: str, version: int | None) -> KernelRef:
    ref = KernelRef.parse(kernel)
    if version is not None and ref.version not in (None, version):
        raise typer.BadParameter(f"--kernel names version {ref.version}, --version {version}")
    if version is None and ref.version is None:
        raise typer.BadParameter("--kernel requires --version")
    return ref if version is None else ref.at(version)


def board(
    competition: CompetitionName = None,
    sync: Sync = False,
    runs: Runs = Path("runs"),
    out: Out = None,
    last: Last = 10,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the submissions, how well cross-validation and leaderboard agree, and which submission to trust.

    Also draws the chart submissions/board.png. Without --sync it needs no internet.

    podium board --competition podium-demo-cars --sync
    """
    result = leaderboard.board(competition, sync=sync, runs=runs, out=out, last=last)
    if json:
        print_json(_as_json(result))
    else:
        _print_board(result, make_console())


def _as_json(board: Board) -> dict[str, Any]:
    return {
        "competition": board.competition,
        "metric": board.metric or None,
        "higher_is_better": board.higher_is_better,
        "submissions": [_row_as_json(row) for row in board.rows],
        "agreement": asdict(board.agreement) | {"is_significant": board.agreement.is_significant},
        "ranking": [
            {"file": entry.row.name, "rank": entry.rank, "behind": entry.behind, "is_tied": entry.is_tied}
            for entry in board.standings
        ],
        "chart": board.chart,
    }


def _row_as_json(row: Row) -> dict[str, Any]:
    """The cells of a row; numbers as numbers, empty cells as null."""
    numbers = {
        "cross_validation": row.cross_validation,
        "standard_error": row.standard_error,
        "public_score": row.public_score,
        "private_score": row.private_score,
        **{name: int(row[name]) if row[name] else None for name in ("ref", "place", "teams")},
    }
    return {name: text or None for name, text in row.cells.items()} | numbers


def _print_board(board: Board, console: Console) -> None:
    if board.synced:
        console.print(
            f"{board.competition}: {board.synced.added} submissions made elsewhere added, {board.synced.changed}"
            f" updated; {board.synced.teams:,} teams on the leaderboard"
        )
    if not board.rows:
        console.print(
            f"no submissions to {board.competition} yet: send one with podium submit, or add existing ones with"
            " podium board --sync"
        )
        return
    _print_table(board, console)
    lines = agreement_lines(board.agreement)
    if board.standings:
        lines += [*rule_lines(board.agreement), *standing_lines(board.standings)]
    elif board.higher_is_better is None:
        lines.append("not ranked: it is unknown whether a higher score is better; name a file with --competition FILE")
    else:
        lines.append("not ranked: no scored submission has a cross-validation score")
    lines.append(f"chart: {board.chart}" if board.chart else "no chart: no submission has both scores yet")
    if interrupted := sum(row.status == "uploading" for row in board.rows):
        lines.append(f"{interrupted} interrupted during upload: podium board --sync checks whether they reached Kaggle")
    if board.other_competitions:
        others = ", ".join(f"{name} ({count})" for name, count in sorted(board.other_competitions.items()))
        lines.append(f"also in {Ledger().path}: {others}; name one with --competition")
    for line in lines:
        console.print(line)


def _print_table(board: Board, console: Console) -> None:
    better = {True: ", higher is better", False: ", lower is better", None: ""}[board.higher_is_better]
    if not console.is_terminal:
        console.width = 1000  # lines of a log are not wrapped
    table = Table(
        title=f"submissions to {board.competition} ({board.metric or 'metric unknown'}{better})",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for heading in ("time (UTC)", "file", "message"):
        table.add_column(heading, overflow="fold")
    for heading in ("cross-validation", "public", "private", "place"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in board.rows:
        cells = [f"{row.time:%Y-%m-%d %H:%M}", short_name(row), row["message"], format_score(row), _public(row)]
        private = "" if row.private_score is None else f"{row.private_score:.5f}"
        place = f"{row['place']} of {row['teams']}" if row["place"] else ""
        table.add_row(*map(Text, [*cells, private, place]))
    console.print(table)


def _public(row: Row) -> str:
    if row.public_score is not None:
        return f"{row.public_score:.5f}"
    return {"complete": "", "error": "not scored", "failed": "not sent"}.get(row.status, row.status)
