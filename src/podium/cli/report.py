"""`podium report` and `podium mistakes`: a page about a run, and the list of what it gets wrong."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.options import Data, Debug, Runs, make_console, make_options
from podium.signals import Interrupted

if TYPE_CHECKING:
    from podium.options import RunOptions

Place = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN|CONFIG.yaml",
        help="A folder in runs, or the file of a member, an ensemble or a detector; by default the newest run.",
        show_default=False,
    ),
]
PlaceOfClassifier = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN|CONFIG.yaml",
        help="A folder in runs, or the file of a member or an ensemble; by default the newest run.",
        show_default=False,
    ),
]


def report(
    place: Place = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show where the model looks in the images that it predicts wrong, and a map of the images.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page.", show_default="report.html in the run folder")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show the newest run on http://127.0.0.1 while it trains; Ctrl-C ends it.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port of --serve.")] = 8765,
    debug: Debug = False,
) -> None:
    """Write a page about a run, a member, an ensemble or a detector: curves, scores, mistakes with their images.

    The page is one file that needs no internet.

    podium report

    podium report configs/ensembles/demo.yaml
    """
    options = make_options(data, runs)
    if serve:
        if place or explain or out:
            raise typer.BadParameter("--serve shows the newest run; remove the place, --explain and --out")
        _serve(options, port)
        return
    from podium.workflows.report import write_page

    make_console().print(write_page(place, options, out, explain=explain), highlight=False)


def _serve(options: "RunOptions", port: int) -> None:
    from podium.workflows.serve import make_server

    with make_server(options, port) as server:
        make_console().print(f"http://127.0.0.1:{server.server_port}", highlight=False)
        with suppress(Interrupted):
            server.serve_forever()


def mistakes(
    place: PlaceOfClassifier = None, data: Data = None, runs: Runs = Path("runs"), debug: Debug = False
) -> None:
    """List the images that a run, a member or an ensemble predicts wrong: a CSV file and a sheet, the worst first.

    podium mistakes configs/ensembles/demo.yaml
    """
    from podium.workflows.report import write_mistakes
    from podium.workflows.subject import find_subject

    options, console = make_options(data, runs), make_console()
    subject = find_subject(place, options)
    table, sheet = write_mistakes(subject, options)
    console.print(f"{table}: {len(subject.mistakes):,} images, the worst first", highlight=False)
    console.print(f"{sheet}: the first of them" if sheet else "no sheet: the images were not found", highlight=False)
