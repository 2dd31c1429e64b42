"""Kaggle kernels: rehearse the built script, push it, follow its log, and download its output."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from podium.config.kaggle_names import KernelRef, source_of
from podium.errors import BundleError, CredentialsError, KaggleError, RateLimitedError
from podium.kaggle.client import Kaggle, sign_in
from podium.kaggle.outputs import pull, with_version
from podium.kaggle.pushing import preflight, push
from podium.kaggle.records import Record, import_runs, read_record, read_records
from podium.kernel.building import SCRIPT, BuiltKernel, build
from podium.kernel.job import SESSION_HOURS, Job
from podium.kernel.metadata import METADATA, Machine, check_metadata, read_metadata
from podium.kernel.pretrained import config_key
from podium.kernel.rehearsal import Layout, Source, rehearse, sources_of
from podium.kernel.report import REPORT, Report, find_report, read_report
from podium.kernel.script import READABLE, Packing, read_about
from podium.paths import data_folder, kerashub_cache
from podium.retries import pause

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
    model from KerasHub's cache.
    """
    metadata = read_metadata(METADATA) if METADATA.is_file() else {}
    script = Path(metadata.get("code_file") or SCRIPT)
    if not script.is_file():
        raise BundleError(f"there is no {script} to rehearse; build it with podium kernel build CONFIG.yaml")
    check_metadata(metadata, METADATA)
    about = read_about(script)
    internet = bool(metadata["enable_internet"])
    _check_weights(about, console, dry_run=dry_run, internet=internet)
    source_of_data = source_of(about.get("data_at"))

    def folder_of(source: Source) -> Path:
        slug = about["data_of"] if source == source_of_data else None
        return _mounted_folder(source, slug, data, inputs or {}, runs)

    attached = sources_of(metadata, dry_run=dry_run, data=source_of_data)
    outcome = rehearse(
        script,
        {source: folder_of(source) for source in attached},
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
    return outcome.working


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
    packing: Packing = READABLE,
) -> list[Record]:
    """Build, check and push a kernel for each job. `dry_run` sends nothing; `follow` waits for the outputs."""
    kaggle, pushed = sign_in(), []
    for job in jobs:
        built = build(configs, job, machine, runs, kaggle.user, packing)
        preflight(kaggle, built, console)
        print_boxes(built, console)
        if dry_run:
            console.print(f"{built.ref}: ready to push; nothing was sent")
            continue
        record = push(kaggle, built, runs)
        pushed.append(record)
        console.print(f"{record.ref}: pushed, {record.facts['url']}", highlight=False)
        for name in built.weights:
            console.print(f"when it is complete, use: {config_key(name)}: kaggle-kernel:{record.ref.name}/{name}")
    for record in pushed if follow else []:
        _follow(kaggle, record, runs, console)
    return pushed


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
            rows.append((name, status.state, status.failure))
    return rows


def _kernels_not_downloaded(runs: Path) -> list[KernelRef]:
    newest = {record.ref.name: record for record in read_records(runs)}
    return [record.ref for record in newest.values() if not (record.output / REPORT).is_file()]


def print_log(ref: KernelRef, console: Console, *, follow: bool = False) -> None:
    """Print a kernel's log; `follow` continues until the kernel ends."""
    kaggle = sign_in()
    for line in kaggle.follow_log(ref) if follow else kaggle.log(ref):
        console.out(line, highlight=False)
    if not follow and not (status := kaggle.kernel_status(ref)).is_over:
        console.print(f"{ref} is {status.state}: Kaggle stores its log at the end; -f follows it until then")
