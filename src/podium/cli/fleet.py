"""`podium fleet …`: an ensemble on Kaggle's GPUs, with a kernel for each member and fold."""

from pathlib import Path

import typer

from podium.cli.kernels import Compress, GpuOption, Internet, Notebook, SessionLimit, job_of
from podium.cli.options import (
    Data,
    Debug,
    EnsembleFile,
    Fold,
    Json,
    Limit,
    LimitTest,
    Runs,
    Seed,
    Set,
    make_console,
    print_json,
)
from podium.cli.queues import queue_table, show_queue
from podium.errors import RunError
from podium.kaggle.fleet import read_fleets
from podium.kernel.metadata import Machine
from podium.kernel.script import Packing
from podium.workflows.blend import print_blend, write_checked_submission
from podium.workflows.fleet import run_fleet, stop_fleets
from podium.workflows.kernels import print_output

app = typer.Typer(no_args_is_help=True)


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
    notebook: Notebook = False,
    compress: Compress = False,
    runs: Runs = Path("runs"),
    debug: Debug = False,
) -> None:
    """Push a kernel for every member and fold, two at a time, and download their outputs; then blend and write the CSV.

    It can be stopped at any time: the same command resumes it and pushes no kernel twice. A kernel that runs out of
    time continues in a kernel of its own, the next part; a failed kernel is retried once, one that was cancelled on
    Kaggle only by this command. A member or a detector works too, without the blend.

    podium fleet up configs/ensembles/sf_dl_cars.yaml --internet
    """
    console = make_console()
    job = job_of(ensemble, fold, limit, limit_test, set_, seed, time_limit)
    machine, packing = Machine(gpu, internet), Packing(notebook, compress)
    with show_queue(console) as show:
        fleet, blend = run_fleet(ensemble, job, machine, packing=packing, data=data, runs=runs, on_round=show)
    if blend:
        print_blend(blend, console)
        write_checked_submission(blend, console)
    else:
        for finished in fleet.jobs:
            print_output(finished.output(runs), console)


@app.command("status")
def status(as_json: Json = False, runs: Runs = Path("runs"), debug: Debug = False) -> None:
    """The state of every fleet and its jobs, as of the last update by podium fleet up.

    podium fleet status --json
    """
    fleets, problems = read_fleets(runs)
    if as_json:
        print_json([fleet.describe() for fleet in fleets])
    else:
        console = make_console()
        for fleet in fleets:
            console.print(queue_table(fleet))
        if not fleets and not problems:
            console.print(f"no fleet in {runs}; start one with podium fleet up ENSEMBLE.yaml")
    if problems:
        raise RunError("; ".join(problems))


@app.command("down")
def down(ensemble: EnsembleFile, runs: Runs = Path("runs"), debug: Debug = False) -> None:
    """Push no more kernels of an ensemble. Running kernels continue; cancel them on Kaggle's pages, which are printed.

    podium fleet down configs/ensembles/sf_dl_cars.yaml
    """
    console = make_console()
    for config, running in stop_fleets(ensemble, runs).items():
        console.print(f"{config}: no more kernels are pushed; still running: {len(running)}")
        for job in running:
            console.print(
                f"  {job.name}: cancel it at {job.page}, or let it finish; podium kernel pull downloads its output",
                highlight=False,
            )
