"""`podium data check`: what is wrong or unusual in the data."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from podium.cli.options import Data, Debug, Json, Runs, make_console, make_options, print_json
from podium.cli.queues import On, StorageOption, cluster_of, show_queue

CompetitionFile = Annotated[
    Path,
    typer.Argument(
        metavar="COMPETITION.yaml|DIR",
        help="A competition file, such as configs/competitions/podium-demo-cars.yaml, or a folder of images.",
    ),
]


def check(
    competition: CompetitionFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Next to the competition file NAME.yaml, write NAME-ignore.csv and NAME-groups.csv; change no image.",
        ),
    ] = False,
    json_: Json = False,
    on: On = None,
    storage: StorageOption = None,
    debug: Debug = False,
) -> None:
    """Look at the tables and every image of a competition, or at a folder, and show what is unusual in a page.

    Damaged files, odd formats and sizes, dark, blurred and blank images; copies with different labels, in different
    folds or in the test set; rows without files and files without rows; and whether test images look like training
    images. What was looked at once is not read again. With --on, the images are looked at on a Ray cluster.

    podium data check configs/competitions/podium-demo-cars.yaml
    """
    from podium.config.loading import load_competition
    from podium.data.quality import Measure, measure_here
    from podium.workflows.data_check import check_data, check_folder, write_findings
    from podium.workflows.data_fix import write_fixes

    console = make_console()
    if fix and competition.is_dir():
        raise typer.BadParameter("its files belong next to a competition file, not to a folder", param_hint="--fix")
    options, shown = make_options(data, runs), None if json_ else console
    with show_queue(Console(quiet=True) if json_ else console) as show:
        measure: Measure = measure_here
        if cluster := cluster_of(on, storage, None, None, False, False, None):
            from podium.workflows.cluster_check import ClusterMeasure

            measure = ClusterMeasure(cluster, competition, runs, options.command, show)
        if competition.is_dir():
            checked = check_folder(competition, shown, measure)
        else:
            checked = check_data(load_competition(competition), options, shown, measure)
    page = write_findings(checked, runs)
    if json_:
        print_json(checked.to_dict())
    else:
        drift = "" if competition.is_dir() else f"; {checked.describe_drift()}"
        console.print(f"{checked.slug}: {checked.count_text}{drift}", highlight=False)
        if checked.findings:
            table = Table("count", "found", "advice", box=None, pad_edge=False)
            for section in checked.sections:
                table.add_row(f"{len(section.items):,}", section.title, section.advice)
            console.print(table)
        else:
            console.print("nothing unusual was found", highlight=False)
        console.print(f"{page}: the images; {page.with_name('findings.csv')}: all that was found", highlight=False)
    if fix:
        for line in write_fixes(checked, competition):
            console.print(line, highlight=False)
