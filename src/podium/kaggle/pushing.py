"""Pushing a script: the checks before, the push, and looking it up if the response is lost."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.kaggle_names import KernelRef
from podium.errors import BundleError, ForbiddenError, KaggleError, NotFoundError, RateLimitedError, UnreachableError
from podium.files import parse_json
from podium.kaggle.records import (
    Record,
    discard_pending,
    kernel_folder,
    read_pending,
    read_record,
    record_push,
    recorded_version,
    write_pending,
)
from podium.kaggle.responses import Quota, page_of
from podium.kernel.building import BuiltKernel
from podium.kernel.job import SESSION_HOURS, SPARE_MINUTES, Job
from podium.kernel.metadata import METADATA, check_metadata
from podium.locks import wait_for_lock
from podium.retries import pause

if TYPE_CHECKING:
    from podium.kaggle.client import Kaggle

SESSIONS = 2
"""GPU sessions that Kaggle allows a user at a time."""
MIN_HOURS = 0.5
"""With fewer GPU hours left this week, nothing is pushed."""
CHECKS = 4
"""How often a push without an answer is looked for before it is repeated: Kaggle may be slow."""
POLL_SECONDS = 15.0
_DECISIVE = ("config_digest", "job", "metadata")
"""Facts of a push that are the same if it is repeated."""


def preflight(kaggle: "Kaggle", built: BuiltKernel, console: Console) -> None:
    """Check before a push: the owner, the names and sources, the weights, the competition's rules."""
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


def push(kaggle: "Kaggle", built: BuiltKernel, runs: Path) -> Record:
    """Push once. The push is written down first, so that `find_push` finds it if its response is lost."""
    with wait_for_lock(kernel_folder(runs, built.ref)):
        return _send(kaggle, built, runs, newest_version(kaggle, built.ref))


def push_unless_pushed(
    kaggle: "Kaggle", built: BuiltKernel, runs: Path, console: Console, *, force: bool = False
) -> Record:
    """Push, unless `earlier_push` finds one of the same job."""
    with wait_for_lock(kernel_folder(runs, built.ref)):
        earlier = _earlier_push(kaggle, built, runs, console, force)
        return earlier or _send(kaggle, built, runs, newest_version(kaggle, built.ref))


def earlier_push(
    kaggle: "Kaggle", built: BuiltKernel, runs: Path, console: Console, *, force: bool = False
) -> Record | None:
    """The version of the same job whose push was interrupted, that is running, or whose same script has ended.

    With `force` a version that has ended does not count.
    """
    with wait_for_lock(kernel_folder(runs, built.ref)):
        return _earlier_push(kaggle, built, runs, console, force)


def _earlier_push(kaggle: "Kaggle", built: BuiltKernel, runs: Path, console: Console, force: bool) -> Record | None:
    ref = built.ref
    if read_pending(runs, ref):
        console.print(f"{ref}: an earlier push has no answer and may be running; looking for it", highlight=False)
        found = _look_for_pending(kaggle, ref, runs)
        if found and _is_same(found, built):
            console.print(f"{found.ref}: the earlier push; not pushed again", highlight=False)
            return found
        outcome = f"the earlier push, as {found.ref}, may be running" if found else "it never reached Kaggle"
        console.print(f"{ref}: {outcome}", highlight=False)
    newest = newest_version(kaggle, ref)
    record = read_record(runs, ref.at(newest)) if newest else None
    if record is None or not _is_same(record, built):
        return None
    status = kaggle.kernel_status(record.ref)
    if not status.is_over:
        console.print(f"{record.ref}: {status.state}; not pushed again", highlight=False)
        return record
    if record.facts["script_digest"] == built.bundle.digest and not force:
        console.print(f"{record.ref}: already pushed, {status.state}; --force pushes it again", highlight=False)
        return record
    return None


def _is_same(record: Record, built: BuiltKernel) -> bool:
    """Whether it is a version of the same job with the same metadata. The time limit may follow from the GPU hours."""
    facts = facts_of(built)
    return all(_without_limit(record.facts.get(key)) == _without_limit(facts[key]) for key in _DECISIVE)


def _without_limit(value: Any) -> Any:
    return {**value, "time_limit": None} if isinstance(value, dict) else value


def _look_for_pending(kaggle: "Kaggle", ref: KernelRef, runs: Path) -> Record | None:
    for check in range(CHECKS):
        if found := _find_pending(kaggle, ref, runs):
            return found
        if check < CHECKS - 1:
            pause(POLL_SECONDS)
    return None


def _send(kaggle: "Kaggle", built: BuiltKernel, runs: Path, version_before: int) -> Record:
    ref, facts, text = built.ref, facts_of(built), built.bundle.text
    write_pending(runs, ref, facts, text, version_before)
    try:
        pushed = kaggle.push(built.metadata, text, session_seconds(built.bundle.job))
    except UnreachableError as error:
        if isinstance(error, RateLimitedError):  # nothing was done
            discard_pending(runs, ref)
            raise
        with suppress(UnreachableError):
            if found := _find_pending(kaggle, ref, runs):
                return found
        raise UnreachableError(
            f"{str(error).rpartition('; ')[0]}; the kernel may be running all the same: run the same"
            " command again, which looks for it first"
        ) from error
    except KaggleError:
        discard_pending(runs, ref)
        raise
    return record_push(runs, facts, text, pushed.ref, pushed.url)


def find_push(kaggle: "Kaggle", ref: KernelRef, script_digest: str, runs: Path) -> Record | None:
    """The version that a push with this script created, if Kaggle has it."""
    with wait_for_lock(kernel_folder(runs, ref)):
        if record := recorded_version(runs, ref, script_digest):
            return record
        pending = read_pending(runs, ref)
        return _find_pending(kaggle, ref, runs) if pending and pending.digest == script_digest else None


def _find_pending(kaggle: "Kaggle", ref: KernelRef, runs: Path) -> Record | None:
    """Look for the pending push of a kernel on Kaggle: for the version with its very script."""
    pending = read_pending(runs, ref)
    if pending is None:
        return None
    for version in range(newest_version(kaggle, ref), pending.version_before, -1):
        source = kaggle.kernel_source(ref.at(version))
        if source and _cells_of(source.text) == _cells_of(pending.script):
            return record_push(runs, pending.facts, pending.script, ref.at(version), page_of(ref))
    return None


def _cells_of(script: str) -> list[str]:
    """The source in a script or a notebook, without what Kaggle may change when it stores it."""
    with suppress(ValueError, TypeError, KeyError):
        return ["".join(cell["source"]) for cell in parse_json(script)["cells"]]
    return [script.strip()]


NO_HOURS = " (an account has some once its phone number is verified)"


def hours_left(quota: Quota, planned: float) -> float:
    """This week's GPU hours that no session will take. `planned` are those that podium's own sessions may still take:
    Kaggle's figure may not have all of them."""
    return quota.hours_left - max(quota.hours_reserved, planned)


def limit_to(hours: float, job: Job) -> Job:
    """The job with a time limit that ends it, with its output stored, before these GPU hours are over."""
    return job.model_copy(update={"time_limit": min(job.time_limit, hours * 3600 - SPARE_MINUTES * 60)})


def is_out_of_gpus(error: Exception) -> bool:
    """Whether Kaggle refused a push because all GPU sessions are in use, or this week's GPU hours are."""
    return any(phrase in str(error).lower() for phrase in ("session count", "gpu quota"))


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
