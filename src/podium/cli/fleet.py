"""`podium fleet …`: a whole ensemble on Kaggle's GPUs, a kernel for each member and fold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from podium.cli.kernels import GpuOption, Internet, SessionLimit, job_of
from podium.cli.options import Data, Debug, EnsembleFile, Fold, Limit, LimitTest, Runs, Seed, Set, make_console
from podium.config.kaggle_names import KernelRef
from podium.config.loading import Ensemble
from podium.errors import DataError, KaggleError, RunError, StoppedError
from podium.kaggle.client import Kaggle, sign_in
from podium.kaggle.fleet import Fleet, advance, fleet_of, fleets, take_over
from podium.kaggle.records import here_of, record_of
from podium.kernel.job import load_config
from podium.kernel.metadata import Machine
from podium.kernel.report import SAMPLE, read_report
from podium.locks import locked
from podium.paths import data_folder
from podium.retries import pause
from podium.runs import Run
from podium.workflows.blend import blend_as, print_blend, write_checked_submission
from podium.workflows.kernels import print_output
from podium.workflows.predict import FoldPredictions

app = typer.Typer(no_args_is_help=True, help="A whole ensemble on Kaggle's GPUs: up, status, down.")
POLL_SECONDS = 30.0


@app.command("up")
def up(
    ensemble: EnsembleFile,
    data: Data = None,
    fold: Fold = None,
    gpu: GpuOption = "t4",
    internet: Internet = False,
    limit: Limit = None,
    limit_test: LimitTest = None,
    time_limit: SessionLimit = None,
    set_: Set = None,
    seed: Seed = None,
    runs: Runs = Path("runs"),
    debug: Debug = False,
) -> None:
    """Push a kernel for every member and fold, two at a time, and bring them home; then blend and write the CSV.

    Stop it whenever you like: the same command goes on, and pushes nothing twice. A kernel that runs out of time goes
    on in its next version; one that fails is tried once more. Of a member or a detector nothing is blended.

    podium fleet up configs/ensembles/sf_dl_cars.yaml
    """
    console = make_console()
    job = job_of(ensemble, fold, limit, limit_test, set_, seed, time_limit)
    loaded = load_config(ensemble, tuple(set_ or ()), seed)
    fleet = fleet_of(ensemble, job, Machine(gpu, internet), runs)
    kaggle = None if fleet.is_home else sign_in()
    with locked(fleet.folder):
        take_over(fleet, runs)
        fleet.send_out()
        if kaggle:
            bring_all_home(fleet, kaggle, runs, console)
        if not isinstance(loaded, Ensemble):
            tell_home(fleet, runs, console)
            return
        sample = sample_of(fleet, loaded, data, runs)
        predictions = predictions_of(fleet, loaded, sample, runs, is_partial=limit_test is not None)
        blend = blend_as(loaded.settings, predictions, loaded.name)
        print_blend(blend, console)
        write_checked_submission(blend, console)


def tell_home(fleet: Fleet, runs: Path, console: Console) -> None:
    for kernel in fleet.kernels:
        assert kernel.ref
        print_output(record_of(runs, KernelRef.parse(kernel.ref)).output, console)


def bring_all_home(fleet: Fleet, kaggle: Kaggle, runs: Path, console: Console) -> None:
    with shown(fleet, console) as show:
        while True:
            advance(fleet, kaggle, runs)
            show()
            if fleet.is_over:
                break
            if fleet.is_called_back:
                raise StoppedError("fleet down: nothing more is pushed; podium fleet up with the same options goes on")
            pause(POLL_SECONDS)
    failed = [f"{kernel.name} ({kernel.told})" for kernel in fleet.kernels if kernel.state == "failed"]
    if failed:
        raise KaggleError(
            f"{len(failed)} of {len(fleet.kernels)} kernels failed twice: {'; '.join(failed)}; podium kernel logs REF"
            " tells more; mend it, and the same command tries these again"
        )


@contextmanager
def shown(fleet: Fleet, console: Console) -> Iterator[Callable[[], None]]:
    """A table that is always of now; in a log, a line for each kernel that has something new to say."""
    if console.is_terminal:
        with Live(table_of(fleet), console=console, auto_refresh=False) as live:
            yield lambda: live.update(table_of(fleet), refresh=True)
        return
    said: dict[str, tuple[str, ...]] = {}

    def tell() -> None:
        for kernel in fleet.kernels:
            now = (kernel.state, kernel.ref or "", kernel.told)
            if said.get(kernel.name) != now:
                said[kernel.name] = now
                console.print("  ".join(filter(None, [kernel.name, *now])), highlight=False)

    yield tell


def table_of(fleet: Fleet) -> Table:
    called_back = ", called back" if fleet.is_called_back else ""
    table = Table(
        title=f"{fleet.config} ({fleet.folder.name}{called_back})", title_justify="left", box=None, pad_edge=False
    )
    for heading in ("kernel", "state", "version", "what it says"):
        table.add_column(heading)
    for kernel in fleet.kernels:
        table.add_row(kernel.name, kernel.state, kernel.ref or "", kernel.told)
    return table


def predictions_of(
    fleet: Fleet, ensemble: Ensemble, sample: Path, runs: Path, *, is_partial: bool
) -> list[FoldPredictions]:
    """Each fold's predictions, from the run folders, or from a kernel's output if this machine has its own run."""
    found = []
    for kernel in fleet.kernels:
        assert kernel.ref
        output = record_of(runs, KernelRef.parse(kernel.ref)).output
        for entry in read_report(output).runs:
            if entry.predictions is None:
                raise RunError(f"{kernel.ref} predicted nothing of {entry.member} fold {entry.fold}; look at its log")
            run, predictions = Run(here_of(runs, entry.run)), here_of(runs, entry.predictions)
            if not (predictions.is_dir() and run.state.get("best") == entry.state["best"]):
                run, predictions = Run(output / entry.run), output / entry.predictions
            best = run.state["best"]
            found.append(
                FoldPredictions(
                    entry.member, entry.fold, predictions, best, ensemble.competition, sample, runs, is_partial
                )
            )
    return found


def sample_of(fleet: Fleet, ensemble: Ensemble, data: Path | None, runs: Path) -> Path:
    """The competition's own where its data is here, else the copy that a kernel brought."""
    competition = ensemble.competition
    try:
        sample = data_folder(competition.slug, data) / competition.submission.sample
        if sample.is_file():
            return sample
    except DataError:
        if data:
            raise
    assert fleet.kernels[0].ref
    return record_of(runs, KernelRef.parse(fleet.kernels[0].ref)).output / SAMPLE


@app.command("status")
def status(runs: Runs = Path("runs"), debug: Debug = False) -> None:
    """Every fleet that was sent out from here: where each kernel stands, as it was when it was last asked for.

    podium fleet status
    """
    console, (known, problems) = make_console(), fleets(runs)
    for fleet in known:
        console.print(table_of(fleet))
    if problems:
        raise RunError("; ".join(problems))
    if not known:
        console.print(f"no fleet in {runs}; send one out with podium fleet up ENSEMBLE.yaml")


@app.command("down")
def down(ensemble: EnsembleFile, runs: Runs = Path("runs"), debug: Debug = False) -> None:
    """Push no more of an ensemble's kernels. Those that are going go on: Kaggle's pages of them, named here, cancel.

    podium fleet down configs/ensembles/sf_dl_cars.yaml
    """
    console = make_console()
    known, _ = fleets(runs)
    mine = [fleet for fleet in known if fleet.config.stem == ensemble.stem and not fleet.is_home]
    if not mine:
        raise RunError(
            f"no fleet of {ensemble.stem} is out (looked in {runs / 'fleets'}); podium fleet status tells which are"
        )
    for fleet in mine:
        fleet.call_back()
        going = [kernel for kernel in fleet.kernels if kernel.state in ("pushing", "going")]
        console.print(f"{fleet.config}: nothing more is pushed; {len(going)} kernels are still going")
        for kernel in going:
            page = f"https://www.kaggle.com/code/{kernel.facts['metadata']['id']}"
            console.print(
                f"  {kernel.name}: cancel it at {page}, or let it end; podium kernel pull fetches it", highlight=False
            )
