"""Pushing a script: the checks before, the push, and looking it up if the response is lost."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.kaggle_names import KernelRef
from podium.errors import BundleError, ForbiddenError, KaggleError, NotFoundError, UnreachableError
from podium.kaggle.records import Record, record_push
from podium.kaggle.responses import page_of
from podium.kernel.building import BuiltKernel
from podium.kernel.job import SESSION_HOURS, SPARE_MINUTES, Job
from podium.kernel.metadata import METADATA, check_metadata

if TYPE_CHECKING:
    from podium.kaggle.client import Kaggle


def preflight(kaggle: "Kaggle", built: BuiltKernel, console: Console) -> None:
    """Check before a push: the owner, the names and sources, the weights, the competition's rules, the GPU hours."""
    ref, metadata = built.ref, built.metadata
    check_metadata(metadata, METADATA)
    if ref.owner.lower() != kaggle.user.lower():
        raise KaggleError(
            f"the kernel in {METADATA} belongs to {ref.owner}, and you are signed in as {kaggle.user}; Kaggle accepts"
            " only your own: fix its id, or sign in with the other key"
        )
    if built.problem:
        raise BundleError(f"{ref}: {built.problem}")
    for slug in metadata["competition_sources"]:
        _check_competition(kaggle, slug)
    if metadata["enable_gpu"]:
        _check_quota(kaggle, built.bundle.job.time_limit, console)
    console.print(
        f"{ref}: {len(built.bundle.text):,} bytes, commit {built.bundle.commit}, config {built.bundle.config_digest},"
        f" {metadata['machine_shape'] or 'no GPU'}, internet {'on' if metadata['enable_internet'] else 'off'}",
        highlight=False,
    )
    if metadata["enable_internet"]:
        console.print("internet is only for accounts with a verified phone number: https://www.kaggle.com/settings")


def _check_competition(kaggle: "Kaggle", slug: str) -> None:
    try:
        has_joined = kaggle.has_joined(slug)
    except (NotFoundError, ForbiddenError) as error:
        raise KaggleError(f"the competition {slug} cannot be attached: {error}") from None
    if not has_joined:
        raise KaggleError(
            f"you have not joined {slug}, so none of your kernels can read its data: accept its rules at"
            f" https://www.kaggle.com/competitions/{slug}/rules"
        )


def _check_quota(kaggle: "Kaggle", time_limit: float, console: Console) -> None:
    quota = kaggle.gpu_quota()
    if quota is None:
        return
    needed = min(time_limit / 3600, SESSION_HOURS)
    console.print(
        f"GPU hours left this week: {quota.hours_left:.1f} of {quota.hours_allowed:.0f}"
        + (f", less than the {needed:.1f} it may take" if quota.hours_left < needed else ""),
        highlight=False,
    )
    if quota.hours_left <= 0:
        when = f"on {quota.refreshes:%Y-%m-%d %H:%M} UTC" if quota.refreshes else "within a week"
        raise KaggleError(f"no GPU hours are left this week; push again when they are reset {when}, or use --gpu none")


def push(kaggle: "Kaggle", built: BuiltKernel, runs: Path) -> Record:
    """Push once. If the response is lost, check on Kaggle whether the version exists."""
    ref, text = built.ref, built.bundle.text
    before = newest_version(kaggle, ref)
    try:
        pushed = kaggle.push(built.metadata, text, session_seconds(built.bundle.job))
    except UnreachableError as error:
        version = version_with(kaggle, ref, text, after=before)
        if version is None:
            raise UnreachableError(f"{error}; {ref} has no new version: push again") from None
        return record_push(runs, facts_of(built), text, ref.at(version), page_of(ref))
    return record_push(runs, facts_of(built), text, pushed.ref, pushed.url)


def session_seconds(job: Job) -> int:
    """When Kaggle ends the session: podium's own limit, and the time to store the output."""
    return int(min(job.time_limit + SPARE_MINUTES * 60, SESSION_HOURS * 3600))


def facts_of(built: BuiltKernel) -> dict[str, Any]:
    """What the record of a push contains."""
    bundle = built.bundle
    return {
        "commit": bundle.commit,
        "config": bundle.job.config,
        "config_digest": bundle.config_digest,
        "script_digest": bundle.digest,
        "job": bundle.job.model_dump(mode="json"),
        "metadata": built.metadata,
    }


def newest_version(kaggle: "Kaggle", ref: KernelRef) -> int:
    source = kaggle.kernel_source(ref)
    return source.version if source else 0


def version_with(kaggle: "Kaggle", ref: KernelRef, text: str, after: int) -> int | None:
    """The version after `after` with exactly this script."""
    source = kaggle.kernel_source(ref)
    if source and source.version > after and source.text.strip() == text.strip():
        return source.version
    return None
