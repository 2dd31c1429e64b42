"""`podium kernel …`: build, rehearse, push and follow the script that Kaggle runs, and download its output."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from podium.cli.options import Debug, DryRun, Fold, Limit, LimitTest, Runs, Seed, Set, duration, make_console
from podium.config.kaggle_names import KernelRef
from podium.kernel.accelerators import machine_shape
from podium.kernel.building import KernelBuilder, jobs_of_folds, make_job
from podium.kernel.job import Job
from podium.kernel.metadata import METADATA, Machine
from podium.kernel.rehearsal import Layout
from podium.kernel.script import Packing
from podium.workflows import kernels

app = typer.Typer(no_args_is_help=True)

Config = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="A member, ensemble or detector file.")]


def _check_machine(name: str) -> str:
    machine_shape(name)
    return name


GpuOption = Annotated[
    str,
    typer.Option(
        "--gpu",
        metavar="NAME",
        callback=_check_machine,
        help="t4 (two of them), l4, a100, h100, none, or Kaggle's name of a machine, such as NvidiaRtxPro6000. Kaggle"
        " offers some of them only in certain competitions; the kernel fails at once if it gets another one.",
    ),
]
Internet = Annotated[
    bool,
    typer.Option(
        "--internet/--no-internet",
        help="Whether the kernel has internet access, which Kaggle grants to accounts with a verified phone number.",
    ),
]
Inference = Annotated[
    bool,
    typer.Option(
        "--inference",
        help="A kernel that trains nothing: it applies the finished blend of an ensemble to the test set that it finds,"
        " for code competitions with a hidden test set.",
    ),
]
Attach = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SOURCE",
        help="With --inference: where Kaggle has the trained runs, kaggle-dataset:<owner>/<slug> or"
        " kaggle-kernel:<owner>/<slug>; repeatable. Default: the dataset of podium data push, else the kernels that"
        " trained them.",
        show_default=False,
    ),
]
Notebook = Annotated[bool, typer.Option("--notebook", help="Pack the source in a notebook instead of a script.")]
Compress = Annotated[
    bool,
    typer.Option("--compress", help="Compress the source: a third of the size, but only the configs are readable."),
]
SessionLimit = Annotated[
    float | None,
    typer.Option(
        "--time-limit",
        metavar="TIME",
        parser=duration,
        help="Stop and save before this time in the kernel. Default: 11h35m of Kaggle's 12 hours.",
        show_default=False,
    ),
]
Ref = Annotated[str, typer.Argument(metavar="REF", help="owner/slug/version, or owner/slug for the newest version.")]


def job_of(
    config: Path,
    fold: Sequence[int] | None,
    limit: int | None,
    limit_test: int | None,
    set_: Sequence[str] | None,
    seed: int | None,
    time_limit: float | None,
    inference: bool = False,
    attach: Sequence[str] | None = None,
    runs: Path = Path("runs"),
) -> Job:
    """The job for the options of a command."""
    if inference:
        if any(option is not None for option in (fold, limit, limit_test, time_limit)):
            raise typer.BadParameter("folds and limits do not apply to --inference, which predicts the whole test set")
        from podium.workflows.inference_jobs import inference_job

        return inference_job(config, runs, attach or (), set_ or (), seed)
    if attach:
        raise typer.BadParameter("--attach requires --inference")
    options: dict[str, Any] = {"folds": tuple(fold or ()), "overrides": tuple(set_ or ()), "seed": seed}
    options |= {"limit": limit, "limit_test": limit_test}
    return make_job(config, **options, **({} if time_limit is None else {"time_limit": time_limit}))


@app.command("build")
def build_(
    config: Config,
    inference: Inference = False,
    attach: Attach = None,
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
    """Pack podium, the config and what it needs into build/kernel.py, and update kernel-metadata.json.

    podium kernel build configs/members/xception.yaml --fold 0

    podium kernel build --inference configs/ensembles/sf_dl_cars.yaml
    """
    job = job_of(config, fold, limit, limit_test, set_, seed, time_limit, inference, attach, runs)
    console = make_console()
    packing = Packing(notebook, compress)
    built = KernelBuilder([config], Machine(gpu, internet), runs, packing=packing).build(job)
    bundle = built.bundle
    console.print(f"{packing.path}: {len(bundle.text):,} bytes, {len(bundle.sizes)} files, commit {bundle.commit}")
    if bundle.is_compressed and not compress:
        console.print("  compressed: as readable source it would exceed Kaggle's limit")
    kernels.print_boxes(built, console)
    console.print(
        f"{METADATA}: {built.metadata['id']}; rehearse it with podium kernel run, push it with podium kernel push"
    )
    if built.problem:
        console.print(f"podium kernel push would refuse it: {built.problem}", highlight=False)


@app.command("run")
def run_(
    layout: Annotated[
        Layout, typer.Option(help="How Kaggle mounts inputs: new, or old as in sessions before 2026.")
    ] = "new",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The competition's or detector's data. Default: PODIUM_DATA, else data/<slug>.",
            show_default=False,
        ),
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME=DIR",
            help="Folder to mount for an attached dataset, kernel or model, by its name. Default for kernels: the"
            " newest pulled output.",
            show_default=False,
        ),
    ] = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    time_limit: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=duration,
            help="Kill the script after this time, as Kaggle does. Default: 12 hours.",
            show_default=False,
        ),
    ] = None,
    root: Annotated[
        Path, typer.Option(metavar="DIR", help="Where kaggle/input and kaggle/working are created.")
    ] = Path("build/rehearsal"),
    runs: Runs = Path("runs"),
    debug: Debug = False,
) -> None:
    """Run the built script as Kaggle runs it: in a fresh interpreter, with Kaggle's folders and no network.

    podium kernel run --dry-run --layout old
    """
    pairs = [pair.partition("=") for pair in input_ or ()]
    if any(not folder for _, _, folder in pairs):
        raise typer.BadParameter("--input needs NAME=DIR, such as ada/weights=DIR")
    console = make_console()
    working = kernels.rehearse_kernel(
        console,
        layout=layout,
        data=data,
        inputs={name: Path(folder) for name, _, folder in pairs},
        limit=limit,
        dry_run=dry_run,
        time_limit=time_limit,
        root=root,
        runs=runs,
    )
    kernels.print_output(working, console)


@app.command("push")
def push_(
    configs: Annotated[list[Path], typer.Argument(metavar="CONFIG.yaml", help="A member, ensemble or detector file.")],
    inference: Inference = False,
    attach: Attach = None,
    fold: Fold = None,
    all_folds: Annotated[bool, typer.Option("--all-folds", help="One kernel for each fold of each member.")] = False,
    gpu: GpuOption = "t4",
    internet: Internet = False,
    weights: Annotated[
        bool,
        typer.Option(
            "--weights",
            help="Push a kernel that only downloads the pretrained weights of these configs, with internet, no GPU.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Run all checks of a push without pushing.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Follow the log and download the output.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask whether to push with less GPU time than the kernel may take.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Push again if the same script was pushed before and has ended.")
    ] = False,
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
    """Build, check everything that can be checked before a push, push, and check Kaggle's response.

    podium kernel push configs/members/xception.yaml --fold 0 --internet --follow
    """
    if weights:
        options = (fold, limit, limit_test, time_limit, seed, attach)
        if all_folds or inference or any(option is not None for option in options):
            raise typer.BadParameter("folds, limits and seeds do not apply to --weights, which only downloads files")
        jobs, machine = [Job(kind="weights", overrides=tuple(set_ or ()))], Machine("none", internet=True)
    else:
        if len(configs) > 1:
            raise typer.BadParameter("several configs are allowed only with --weights; push them one by one")
        if all_folds and inference:
            raise typer.BadParameter("give --all-folds or --inference, not both")
        job = job_of(configs[0], fold, limit, limit_test, set_, seed, time_limit, inference, attach, runs)
        jobs, machine = jobs_of_folds(configs[0], job) if all_folds else [job], Machine(gpu, internet)

    def confirm(question: str) -> bool:
        """Ask on a terminal; on stderr, so that the question is seen if the output goes to a file."""
        return yes or (sys.stdin is not None and sys.stdin.isatty() and typer.confirm(question, err=True))

    kernels.push_kernels(
        configs,
        jobs,
        machine,
        make_console(),
        runs=runs,
        dry_run=dry_run,
        follow=follow,
        force=force,
        packing=Packing(notebook, compress),
        confirm=confirm,
    )


@app.command("status")
def status_(
    ref: Annotated[
        str | None,
        typer.Argument(
            metavar="[REF]",
            help="owner/slug or owner/slug/version. Default: all pushed kernels that are not downloaded yet.",
        ),
    ] = None,
    runs: Runs = Path("runs"),
    debug: Debug = False,
) -> None:
    """Show the status of a kernel, or of every kernel that was pushed from this machine and not downloaded yet.

    podium kernel status ada/podium-xception-fold0/3
    """
    console = make_console()
    rows = kernels.kernel_statuses(KernelRef.parse(ref) if ref else None, runs=runs)
    if not rows:
        console.print("no pushed kernel is waiting to be downloaded; name a kernel, such as owner/slug")
        return
    table = Table("kernel", "state", "message", box=None, pad_edge=False)
    for kernel, state, message in rows:
        table.add_row(str(kernel), state, message)
    console.print(table)


@app.command("logs")
def logs_(
    ref: Ref,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the log until the kernel ends.")] = False,
    debug: Debug = False,
) -> None:
    """Print a kernel's log.

    podium kernel logs -f ada/podium-xception-fold0
    """
    kernels.print_log(KernelRef.parse(ref), make_console(), follow=follow)


@app.command("pull")
def pull_(
    ref: Ref,
    even_failed: Annotated[bool, typer.Option("--even-failed", help="Download the output of a failed kernel.")] = False,
    runs: Runs = Path("runs"),
    debug: Debug = False,
) -> None:
    """Download and verify a kernel's output, and copy its runs to the run folder. Interrupted downloads resume.

    podium kernel pull ada/podium-xception-fold0/3
    """
    kernels.pull_kernel(KernelRef.parse(ref), make_console(), runs=runs, even_failed=even_failed)
