"""`podium export`."""

from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Debug, Runs, make_console


def export(
    runs: Runs = Path("runs"),
    store: Annotated[str, typer.Option(metavar="URI", help="The store, as MLflow names it.")] = "sqlite:///mlflow.db",
    debug: Debug = False,
) -> None:
    """Copy the settings and histories of all runs into an MLflow store, without a server.

    podium export

    mlflow ui --backend-store-uri sqlite:///mlflow.db
    """
    from podium.workflows.export import export

    export(runs, store, make_console())
