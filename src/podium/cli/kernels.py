"""`podium kernel …`: the script that Kaggle runs, rehearsed here, pushed, followed and fetched."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from podium.cli.options import Debug, DryRun, Fold, Limit, LimitTest, Runs, Seed, Set, duration, make_console
from podium.config.kaggle_names import KernelRef
from podium.config.kaggle_place import KagglePlace
from podium.errors import BundleError, KaggleError, NotFoundError
from podium.kaggle.client import Kaggle, sign_in
from podium.kaggle.outputs import pull, with_version
from podium.kaggle.pushing import preflight, push
from podium.kaggle.records import Record, bring_home, record_of, records
from podium.kernel.building import SCRIPT, Built, build, jobs_of_folds, whole_job
from podium.kernel.bundle import about_of
from podium.kernel.job import HOURS_OF_A_SESSION, Job
from podium.kernel.metadata import METADATA, Gpu, Machine, check_metadata, read_metadata
from podium.kernel.pretrained import key_of
from podium.kernel.rehearsal import Layout, Source, check_system, rehearse, sources_of
from podium.kernel.report import REPORT, find_report, read_report
from podium.paths import data_folder
from podium.retries import pause

POLL_SECONDS = 15.0

app = typer.Typer(no_args_is_help=True, help="Kaggle's kernels: build the script, rehearse, push, follow, fetch.")

Config = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="A member, ensemble or detector file.")]
GpuOption = Annotated[Gpu, typer.Option("--gpu", help="Two T4, or no GPU.")]
Internet = Annotated[bool, typer.Option("--internet/--no-internet", help="Whether the kernel can reach the internet.")]
SessionLimit = Annotated[
    float | None,
    typer.Option(
        "--time-limit",
        metavar="TIME",
        parser=duration,
        help="Within the kernel: stop in time to be done saving. Else Kaggle's 12 hours, less half an hour.",
        show_default=False,
    ),
]
Ref = Annotated[
    str, typer.Argument(metavar="REF", help="owner/slug, or owner/slug/version; without a version the newest.")
]


def job_of(
    config: Path,
    fold: Sequence[int] | None,
    limit: int | None,
    limit_test: int | None,
    dry_run: bool,
    set_: Sequence[str] | None,
    seed: int | None,
    time_limit: float | None,
) -> Job:
    wishes: dict[str, Any] = {"folds": tuple(fold or ()), "overrides": tuple(set_ or ()), "seed": seed}
    wishes |= {"limit": limit, "limit_test": limit_test, "dry_run": dry_run}
    return whole_job(config, **wishes, **({} if time_limit is None else {"time_limit": time_limit}))


@app.command("build")
def build_(
    config: Config,
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
    """Pack podium, the config and what it needs into build/kernel.py, and bring kernel-metadata.json into step.

    podium kernel build configs/members/xception.yaml --fold 0
    """
    job = job_of(config, fold, limit, limit_test, False, set_, seed, time_limit)
    built = build([config], job, Machine(gpu, internet), runs)
    tell_built(built, make_console())


def tell_built(built: Built, console: Console) -> None:
    bundle = built.bundle
    console.print(f"{SCRIPT}: {len(bundle.text):,} bytes, {len(bundle.parts)} files, commit {bundle.commit}")
    tell_boxes(built, console)
    console.print(f"{METADATA}: {built.metadata['id']}; podium kernel run rehearses it, podium kernel push sends it")


def tell_boxes(built: Built, console: Console) -> None:
    """Of a detector: whether the kernel trains on the very set that was built here."""
    bundle = built.bundle
    if bundle.job.kind == "detector":
        built_there = f"the set of boxes is built in the kernel: {bundle.boxes.why_not}"
        console.print("the set of boxes travels in it" if bundle.boxes.files else built_there, highlight=False)


@app.command("run")
def run_(
    layout: Annotated[
        Layout, typer.Option(help="How Kaggle mounts inputs: new, or old as on sessions before 2026.")
    ] = "new",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The competition's or detector's data. Else PODIUM_DATA, else data/<slug>.",
            show_default=False,
        ),
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="OWNER/SLUG=DIR",
            help="What is mounted for an attached dataset or kernel; of your own kernels the newest that was pulled.",
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
            help="As Kaggle does it: then the script is killed. Else after Kaggle's 12 hours.",
            show_default=False,
        ),
    ] = None,
    root: Annotated[Path, typer.Option(metavar="DIR", help="Where kaggle/input and kaggle/working are made.")] = Path(
        "build/rehearsal"
    ),
    runs: Runs = Path("runs"),
    debug: Debug = False,
) -> None:
    """Run the built script here the way Kaggle runs it: fresh interpreter, Kaggle's folders, no network, no writing.

    podium kernel run --dry-run --layout old
    """
    check_system()
    if not SCRIPT.is_file():
        raise BundleError(f"there is no {SCRIPT} to rehearse; make it with podium kernel build CONFIG.yaml")
    smaller: dict[str, Any] = {"dry_run": dry_run, "limit": limit}
    metadata, console = read_metadata(METADATA), make_console()
    check_metadata(metadata, METADATA)
    slugs = named_data()
    attached = sources_of(metadata, dry_run=dry_run, data=next(iter(slugs), None))
    inputs = {source: place_of(source, data, input_ or (), runs, slugs.get(source)) for source in attached}
    outcome = rehearse(
        SCRIPT,
        inputs,
        root,
        layout=layout,
        time_limit=time_limit or HOURS_OF_A_SESSION * 3600,
        smaller={field: value for field, value in smaller.items() if value},
        tell=lambda line: console.out(line.data, end="", highlight=False),
    )
    if outcome.ran_out_of_time:
        raise KaggleError(f"killed after {outcome.seconds:.0f} s, as Kaggle does: nothing of it would be kept")
    if not outcome.is_complete:
        raise KaggleError(f"the script ended with {outcome.code}: this kernel would fail; its log is above")
    tell_output(outcome.working, console)


def named_data() -> dict[Source, str]:
    """The source that a config names for its data, with the config's slug: data/<slug> is what lies here for it."""
    about = about_of(SCRIPT)
    place = KagglePlace.parse(about.get("data_at", ""))
    return {place.source: about["data_of"]} if place else {}


def place_of(source: Source, data: Path | None, named: Sequence[str], runs: Path, slug: str | None = None) -> Path:
    """What a rehearsal mounts for an attached source; for that of a config's data, what has its slug."""
    kind, name = source
    if kind == "competition" and slug is None:
        return data_folder(name, data)
    for pair in named:
        key, _, folder = pair.partition("=")
        if key == name:
            return Path(folder)
    if slug is not None:
        return data_folder(slug, data)
    pulled = [record.output for record in records(runs) if kind == "kernel" and record.ref.name == name]
    found = next((place for place in reversed(pulled) if place.is_dir()), None)
    if found is None:
        raise KaggleError(f"what is mounted for the {kind} {name}? Say it with --input {name}=DIR")
    return found


def tell_output(output: Path, console: Console) -> None:
    report = read_report(output)
    for entry in report.runs:
        score = f": {entry.score}" if entry.score else ""
        console.print(f"{entry.member} fold {entry.fold}{score}  {output / entry.run}", highlight=False)
    for name in [*report.weights, *filter(None, [report.submission])]:
        console.print(f"{output / name}", highlight=False)
    if report.status == "stopped":
        console.print(f"stopped before the end: {report.why}", highlight=False)


@app.command("push")
def push_(
    configs: Annotated[list[Path], typer.Argument(metavar="CONFIG.yaml", help="A member, ensemble or detector file.")],
    fold: Fold = None,
    all_folds: Annotated[bool, typer.Option("--all-folds", help="A kernel for every fold, and every member.")] = False,
    gpu: GpuOption = "t4",
    internet: Internet = False,
    weights: Annotated[
        bool,
        typer.Option("--weights", help="Push a kernel that only fetches the pretrained weights of these configs."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look at all that is looked at before a push; send nothing.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on to the log, and fetch what it leaves.")] = False,
    limit: Limit = None,
    limit_test: LimitTest = None,
    time_limit: SessionLimit = None,
    set_: Set = None,
    seed: Seed = None,
    runs: Runs = Path("runs"),
    debug: Debug = False,
) -> None:
    """Build, look at everything that can be wrong, push, and read the whole of Kaggle's answer.

    podium kernel push configs/members/xception.yaml --fold 0 --follow
    """
    if weights:
        if all_folds or any(one is not None for one in (fold, limit, limit_test, time_limit, seed)):
            raise typer.BadParameter("--weights fetches files: folds, limits and seeds are for trainings")
        jobs, machine = [Job(kind="weights", overrides=tuple(set_ or ()))], Machine("none", internet=True)
    else:
        if len(configs) > 1:
            raise typer.BadParameter("several configs go with --weights only; push them one by one")
        job = job_of(configs[0], fold, limit, limit_test, False, set_, seed, time_limit)
        jobs, machine = jobs_of_folds(configs[0], job) if all_folds else [job], Machine(gpu, internet)
    console, pushed = make_console(), []
    kaggle = sign_in()
    for job in jobs:
        built = build(configs, job, machine, runs, kaggle.user)
        preflight(kaggle, built, console)
        tell_boxes(built, console)
        if dry_run:
            console.print(f"{built.ref}: ready to be pushed; nothing was sent")
            continue
        record = push(kaggle, built, runs)
        pushed.append(record)
        console.print(f"{record.ref}: pushed, {record.facts['url']}", highlight=False)
        for name in built.weights:
            console.print(f"once it is complete: {key_of(name)}: kaggle-kernel:{record.ref.name}/{name}")
    for record in pushed if follow else []:
        follow_to_the_end(kaggle, record, runs, console)


def follow_to_the_end(kaggle: Kaggle, record: Record, runs: Path, console: Console) -> None:
    """Its log as it is written, then its outputs, then its runs among the others."""
    for line in kaggle.follow_log(record.ref):
        console.out(line, highlight=False)
    status = kaggle.kernel_status(record.ref)
    while not status.is_over:
        pause(POLL_SECONDS)
        status = kaggle.kernel_status(record.ref)
    fetch(kaggle, record, runs, console)


def fetch(kaggle: Kaggle, record: Record, runs: Path, console: Console) -> None:
    pull(kaggle, record.ref, record.output, console)
    if find_report(record.output) is None:
        console.print(f"{record.output}: all it left; it has no {REPORT}, so nothing was put among the runs")
        return
    for line in bring_home(record, runs):
        console.print(line, highlight=False)
    tell_output(record.output, console)


@app.command("status")
def status_(
    ref: Annotated[
        str | None, typer.Argument(metavar="[REF]", help="owner/slug or owner/slug/version. Else all you pushed.")
    ] = None,
    runs: Runs = Path("runs"),
    debug: Debug = False,
) -> None:
    """How a kernel is doing; without a name, every version that was pushed from here and is not yet home.

    podium kernel status ada/podium-xception-fold0/3
    """
    wanted = [KernelRef.parse(ref)] if ref else out_there(runs)
    console = make_console()
    if not wanted:
        console.print("nothing that was pushed from here is still out; name a kernel, such as owner/slug")
        return
    kaggle = sign_in()
    table = Table(box=None, pad_edge=False)
    for heading in ("kernel", "state", "what it says"):
        table.add_column(heading)
    for one in wanted:
        try:
            status = kaggle.kernel_status(one)
        except NotFoundError as error:
            if ref:
                raise
            table.add_row(str(one), "unknown", str(error))
        else:
            table.add_row(str(one), status.state, status.failure)
    console.print(table)


def out_there(runs: Path) -> list[KernelRef]:
    """The newest version of each kernel that was pushed from here, where it is not yet home."""
    newest = {record.ref.name: record for record in records(runs)}
    return [record.ref for record in newest.values() if not (record.output / REPORT).is_file()]


@app.command("logs")
def logs_(
    ref: Ref,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the kernel ends.")] = False,
    debug: Debug = False,
) -> None:
    """A kernel's log, so far or to its end.

    podium kernel logs -f ada/podium-xception-fold0
    """
    kaggle, kernel, console = sign_in(), KernelRef.parse(ref), make_console()
    for line in kaggle.follow_log(kernel) if follow else kaggle.log(kernel):
        console.out(line, highlight=False)
    if not follow and not (status := kaggle.kernel_status(kernel)).is_over:
        console.print(f"{kernel} is {status.state}: Kaggle stores its log at the end, and -f follows it until then")


@app.command("pull")
def pull_(
    ref: Ref,
    even_failed: Annotated[bool, typer.Option("--even-failed", help="Also what a failed kernel left.")] = False,
    runs: Runs = Path("runs"),
    debug: Debug = False,
) -> None:
    """Fetch what a kernel left, whole and checked, and put its runs among the others. A broken fetch goes on.

    podium kernel pull ada/podium-xception-fold0/3
    """
    kaggle, console = sign_in(), make_console()
    kernel = with_version(kaggle, KernelRef.parse(ref))
    record = record_of(runs, kernel)
    if even_failed:
        pull(kaggle, kernel, record.output, console, even_failed=True)
        console.print(f"{record.output}: all it left; nothing was put among the runs", highlight=False)
    else:
        fetch(kaggle, record, runs, console)
