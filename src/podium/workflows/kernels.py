"""Kaggle kernels: rehearse the built script, push it, follow its log, and download its output."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from podium.config.competition import Competition
from podium.config.kaggle_names import KernelRef, source_of
from podium.config.loading import Ensemble
from podium.errors import BundleError, CredentialsError, KaggleError, RateLimitedError
from podium.files import write_text
from podium.kaggle.client import Kaggle, sign_in
from podium.kaggle.outputs import failure_of, pull, with_version
from podium.kaggle.pushing import (
    MIN_HOURS,
    NO_HOURS,
    SESSIONS,
    earlier_push,
    hours_left,
    is_out_of_gpus,
    limit_to,
    preflight,
    push_unless_pushed,
    session_seconds,
)
from podium.kaggle.records import Record, import_runs, read_record, read_records
from podium.kernel.building import SCRIPT, BuiltKernel, KernelBuilder
from podium.kernel.job import SESSION_HOURS, Job, load_config
from podium.kernel.metadata import METADATA, Machine, check_metadata, read_metadata
from podium.kernel.pretrained import config_key
from podium.kernel.rehearsal import Layout, Source, rehearse, sources_of
from podium.kernel.report import CODE_SUBMISSION, REPORT, Report, find_report, read_report
from podium.kernel.script import READABLE, Packing, read_about, read_packed
from podium.paths import data_folder, kerashub_cache
from podium.retries import pause
from podium.signals import format_duration
from podium.workflows.hidden_test import check_ids, make_hidden_test
from podium.workflows.inference_jobs import stage_blend

HIDDEN_TEST = Path("build/hidden-test")
"""The data of the competition in a rehearsal of an inference kernel."""
POLL_SECONDS = 15.0


def rehearse_kernel(
    console: Console,
    *,
    layout: Layout = "new",
    data: Path | None = None,
    inputs: Mapping[str, Path] | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    time_limit: float | None = None,
    root: Path = Path("build/rehearsal"),
    runs: Path = Path("runs"),
) -> Path:
    """Run the built script or notebook as Kaggle runs it, print its log, and return the folder of its output.

    `inputs` are the folders to mount for attached datasets, kernels and models, by name. Without one, the data of the
    config is mounted from `data` or data/<slug>, a kernel's output from the newest version that was downloaded, and a
    model from KerasHub's cache. An inference kernel gets another test set, as in a scoring run, and must predict it.
    """
    metadata = read_metadata(METADATA) if METADATA.is_file() else {}
    script = Path(metadata.get("code_file") or SCRIPT)
    if not script.is_file():
        raise BundleError(f"there is no {script} to rehearse; build it with podium kernel build CONFIG.yaml")
    check_metadata(metadata, METADATA)
    about, (job, configs) = read_about(script), read_packed(script)
    internet = bool(metadata["enable_internet"])
    _check_weights(about, console, dry_run=dry_run, internet=internet)
    source_of_data, inputs = source_of(about.get("data_at")), dict(inputs or {})
    if job.kind == "inference":
        if dry_run or limit:
            raise BundleError("an inference kernel trains nothing: rehearse it without --dry-run and --limit")
        inputs = _staged_runs(job, runs) | inputs

    def folder_of(source: Source) -> Path:
        slug = about["data_of"] if source == source_of_data else None
        return _mounted_folder(source, slug, data, inputs, runs)

    attached = sources_of(metadata, dry_run=dry_run, data=source_of_data)
    mounted = {source: folder_of(source) for source in attached}
    competition = _competition_of(job, configs) if job.kind == "inference" else None
    if competition:
        make_hidden_test(competition, mounted[competition.kaggle_source], HIDDEN_TEST)
        mounted[competition.kaggle_source] = HIDDEN_TEST
    outcome = rehearse(
        script,
        mounted,
        root,
        layout=layout,
        time_limit=time_limit or SESSION_HOURS * 3600,
        internet=internet,
        job_changes={key: value for key, value in {"dry_run": dry_run, "limit": limit}.items() if value},
        on_line=lambda line: console.out(line.data, end="", highlight=False),
    )
    if outcome.timed_out:
        raise KaggleError(f"killed after {outcome.seconds:.0f} s, as Kaggle would: none of its output would be kept")
    if not outcome.is_complete:
        raise KaggleError(f"the script failed with exit code {outcome.code}; its log is above")
    if competition:
        count = check_ids(outcome.working / CODE_SUBMISSION, HIDDEN_TEST, competition)
        console.print(
            f"{CODE_SUBMISSION} has exactly the {count} ids of another test set, {HIDDEN_TEST}", highlight=False
        )
    return outcome.working


def _staged_runs(job: Job, runs: Path) -> dict[str, Path]:
    """The folder to mount for each dataset of an inference kernel: what podium data push uploads for its blend."""
    sources = [source_of(place) for place in job.trained_at]
    return {source[1]: stage_blend(runs / job.blend) for source in sources if source and source[0] == "dataset"}


def _competition_of(job: Job, configs: Mapping[str, str]) -> Competition:
    """The competition in the packed configs of an ensemble."""
    with TemporaryDirectory() as folder:
        for name, text in configs.items():
            write_text(Path(folder) / name, text, fsync=False)
        packed = Path(folder) / "configs"
        loaded = load_config(packed / job.config, job.overrides_in(packed), job.seed)
    assert isinstance(loaded, Ensemble)
    return loaded.competition


def _check_weights(about: Mapping[str, str], console: Console, *, dry_run: bool, internet: bool) -> None:
    """A dry run uses random weights, so it cannot show that the pretrained ones are there."""
    downloads = "" if internet else about.get("downloads", "")
    problem = f"the kernel has no internet and would have to download {downloads}" if downloads else ""
    if problem and not dry_run:
        raise BundleError(
            f"{problem}: build it with --internet, or with weights that can be attached (podium kernel push --weights"
            " downloads them once), or rehearse it with --dry-run, which uses random weights"
        )
    if dry_run and "pretrained" in about:
        text = problem or f"not checked: {about['pretrained']}"
        console.print(f"a dry run uses random weights; {text}", highlight=False)


def _mounted_folder(
    source: Source, slug: str | None, data: Path | None, inputs: Mapping[str, Path], runs: Path
) -> Path:
    """The local folder to mount for a source; `slug` is set if it holds the data of the config."""
    kind, name = source
    if kind == "competition":
        return data_folder(slug or name, data)
    if name in inputs:
        return inputs[name]
    if slug is not None:
        return data_folder(slug, data)
    if kind == "model" and (cached := kerashub_cache() / name).is_dir():
        return cached
    outputs = [record.output for record in read_records(runs) if kind == "kernel" and record.ref.name == name]
    folder = next((output for output in reversed(outputs) if output.is_dir()), None)
    if folder is None:
        raise KaggleError(f"no local folder to mount for the {kind} {name}; name one with --input {name}=DIR")
    return folder


def push_kernels(
    configs: Sequence[Path],
    jobs: Sequence[Job],
    machine: Machine,
    console: Console,
    *,
    runs: Path = Path("runs"),
    dry_run: bool = False,
    follow: bool = False,
    force: bool = False,
    packing: Packing = READABLE,
    confirm: Callable[[str], bool] = lambda question: False,
) -> list[Record]:
    """Build, check and push a kernel for each job. `dry_run` sends nothing; `follow` waits for the outputs.

    A script that was pushed already is pushed again only with `force`, and only if that version has ended. `confirm` is
    asked whether to push a kernel that has less GPU time than it may take.
    """
    if machine.gpu != "none" and len(jobs) > SESSIONS:
        raise KaggleError(
            f"these are {len(jobs)} kernels, and Kaggle runs {SESSIONS} with a GPU at a time: podium fleet up"
            f" {configs[0]} pushes one after the other, downloads the outputs and resumes what runs out of time"
        )
    kaggle, pushed, planned = sign_in(), list[Record](), 0.0
    builder = KernelBuilder(configs, machine, runs, kaggle.user, packing)
    for job in jobs:
        built = builder.build(job)
        record = None if dry_run else earlier_push(kaggle, built, runs, console, force=force)
        if record is None:
            preflight(kaggle, built, console)
            if built.metadata["enable_gpu"]:
                limited = _within_quota(kaggle, job, planned, console, (lambda _: True) if dry_run else confirm)
                planned += session_seconds(limited) / 3600
                built = built if limited == job else builder.build(limited)
            print_boxes(built, console)
            if dry_run:
                console.print(f"{built.ref}: ready to push; nothing was sent")
                continue
            record = _push(kaggle, built, runs, console, force)
            console.print(f"{record.ref}: pushed, {record.facts['url']}", highlight=False)
        pushed.append(record)
        for name in built.weights:
            console.print(f"when it is complete, use: {config_key(name)}: kaggle-kernel:{record.ref.name}/{name}")
    for record in pushed if follow else []:
        _follow(kaggle, record, runs, console)
    return pushed


def _within_quota(kaggle: Kaggle, job: Job, planned: float, console: Console, confirm: Callable[[str], bool]) -> Job:
    """The job, or if it may take more GPU hours than are left, the job with a shorter time limit, once confirmed."""
    quota = kaggle.gpu_quota()
    if quota is None:
        console.print("GPU hours left this week: unknown; Kaggle does not say")
        return job
    hours, needed = hours_left(quota, planned), session_seconds(job) / 3600
    console.print(f"GPU hours left this week: {max(0.0, hours):.1f} of {quota.hours_allowed:.0f}", highlight=False)
    if hours >= needed:
        return job
    when = f"on {quota.refreshes:%Y-%m-%d %H:%M} UTC" if quota.refreshes else "within a week"
    if hours < MIN_HOURS:
        left, advice = (f"only {hours:.1f}", "") if hours > 0 else ("no", NO_HOURS)
        raise KaggleError(
            f"{left} GPU hours are left this week{advice}; push again when they are reset {when}, or use --gpu none"
        )
    limited = limit_to(hours, job)
    outcome = (
        f"it may take {needed:.1f} GPU hours: with those left it stops after {format_duration(limited.time_limit)} and"
        " saves a checkpoint, unless it is done by then"
    )
    if not confirm(f"{outcome}. Push it?"):
        raise KaggleError(
            f"not pushed: {outcome}; push it so with --yes, or use podium fleet up, which continues such a kernel when"
            f" the hours are reset {when}"
        )
    return limited


def _push(kaggle: Kaggle, built: BuiltKernel, runs: Path, console: Console, force: bool) -> Record:
    try:
        return push_unless_pushed(kaggle, built, runs, console, force=force)
    except KaggleError as error:
        if is_out_of_gpus(error):
            raise KaggleError(f"{str(error).rstrip('.')}; podium fleet up waits until it can push") from error
        raise


def print_boxes(built: BuiltKernel, console: Console) -> None:
    """For a detector, print whether the kernel trains on the dataset that was built locally."""
    boxes = built.bundle.boxes
    if built.bundle.job.kind == "detector":
        console.print(
            "the dataset is packed" if boxes.files else f"the kernel builds the dataset: {boxes.reason}",
            highlight=False,
        )


def _follow(kaggle: Kaggle, record: Record, runs: Path, console: Console) -> None:
    for line in kaggle.follow_log(record.ref):
        console.out(line, highlight=False)
    while not kaggle.kernel_status(record.ref).is_over:
        pause(POLL_SECONDS)
    _download(kaggle, record, runs, console)


def pull_kernel(ref: KernelRef, console: Console, *, runs: Path = Path("runs"), even_failed: bool = False) -> Record:
    """Download the output of a kernel and copy its runs to `runs`; those of a failed kernel are not copied."""
    kaggle = sign_in()
    record = read_record(runs, with_version(kaggle, ref))
    if even_failed:
        pull(kaggle, record.ref, record.output, console, even_failed=True)
        console.print(f"{record.output}: its output; nothing was copied to {runs}", highlight=False)
    else:
        _download(kaggle, record, runs, console)
    return record


def _download(kaggle: Kaggle, record: Record, runs: Path, console: Console) -> None:
    pull(kaggle, record.ref, record.output, console)
    if find_report(record.output) is None:
        console.print(f"{record.output}: its output has no {REPORT}, so nothing was copied to {runs}")
        return
    for line in import_runs(record, runs):
        console.print(line, highlight=False)
    print_output(record.output, console)


def print_output(output: Path, console: Console) -> Report:
    """Print the paths of the results in a kernel's output."""
    report = read_report(output)
    for entry in report.runs:
        score = f": {entry.score}" if entry.score else ""
        console.print(f"{entry.member} fold {entry.fold}{score}  {output / entry.run}", highlight=False)
    for name in [*report.weights, *filter(None, [report.submission])]:
        console.print(f"{output / name}", highlight=False)
    if report.status == "stopped":
        console.print(f"stopped before the end: {report.reason}", highlight=False)
    return report


def kernel_statuses(ref: KernelRef | None = None, *, runs: Path = Path("runs")) -> list[tuple[KernelRef, str, str]]:
    """State and failure message of a kernel, or of all that were pushed from this machine and not downloaded yet."""
    refs = [ref] if ref else _kernels_not_downloaded(runs)
    if not refs:
        return []
    kaggle, rows = sign_in(), []
    for name in refs:
        try:
            status = kaggle.kernel_status(name)
        except (CredentialsError, RateLimitedError):
            raise
        except KaggleError as error:  # of this kernel: list the others too
            if ref:
                raise
            rows.append((name, "unknown", str(error)))
        else:
            failure = failure_of(kaggle, name, status) if status.state == "error" else status.failure
            rows.append((name, status.state, failure))
    return rows


def _kernels_not_downloaded(runs: Path) -> list[KernelRef]:
    newest = {record.ref.name: record for record in read_records(runs)}
    return [record.ref for record in newest.values() if not _is_downloaded(record)]


def _is_downloaded(record: Record) -> bool:
    """The report is the first file of an output, and the log the last."""
    return all((record.output / name).is_file() for name in (REPORT, f"{record.ref.slug}.log"))


def print_log(ref: KernelRef, console: Console, *, follow: bool = False) -> None:
    """Print a kernel's log; `follow` continues until the kernel ends."""
    kaggle = sign_in()
    for line in kaggle.follow_log(ref) if follow else kaggle.log(ref):
        console.out(line, highlight=False)
    if not follow and not (status := kaggle.kernel_status(ref)).is_over:
        console.print(f"{ref} is {status.state}: Kaggle stores its log at the end; -f follows it until then")
