"""`podium config …`: check config files."""

from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Data, Debug, make_console
from podium.errors import ConfigError

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Without it typer would make the only command the group itself."""


@app.command("check")
def check(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Competition, member, ensemble and detector files.")
    ],
    data: Data = None,
    debug: Debug = False,
) -> None:
    """Check config files, and the tables, images and sample submission of their competition, in a second.

    Reports all problems at once. Without the data only the files are checked.

    podium config check configs/ensembles/sf_dl_cars.yaml
    """
    from podium.workflows.config_check import check_configs

    fine, problems = check_configs(files, data)
    console = make_console()
    for line in fine:
        console.print(line, highlight=False)
    if problems:
        raise ConfigError("\n".join(problems))
