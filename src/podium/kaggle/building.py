"""`podium kernel build`: the script and its metadata, written in step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from podium.config.loading import Ensemble, Member, fold_count, is_ensemble
from podium.errors import ConfigError
from podium.files import write_json, write_text
from podium.kaggle.bundle import Bundle, make_bundle
from podium.kaggle.job import Job, load_config
from podium.kaggle.keys import user_of_this_machine
from podium.kaggle.metadata import METADATA, NOBODY, Machine, in_step, metadata_for, ref_of
from podium.kaggle.names import KernelRef
from podium.kaggle.pretrained import wanted_weights
from podium.runs import changed_folds

SCRIPT = Path("build/kernel.py")
_LAST = Path("build/kernel-metadata.json")
"""What podium alone would have written into kernel-metadata.json."""


@dataclass(frozen=True)
class Built:
    """A script with its metadata, as they would be pushed; the metadata's file is only the root's own kernel's."""

    bundle: Bundle
    metadata: dict[str, Any]
    weights: tuple[str, ...] = ()
    """The files that a kernel of pretrained weights will leave."""

    @property
    def ref(self) -> KernelRef:
        return ref_of(self.metadata)


def whole_job(config: Path, **wishes: Any) -> Job:
    """The job of a config as it is; `wishes` are fields of a job."""
    return Job(kind="ensemble" if is_ensemble(config) else "member", **wishes)


def assemble(configs: Sequence[Path], job: Job, machine: Machine, runs: Path, owner: str | None = None) -> Built:
    """Make a bundle and its metadata, and write nothing."""
    loaded = [load_config(config, job.overrides, job.seed) for config in configs]
    members = [member for one in loaded for member in job.members_of(one)]
    for member in members:
        check_folds(member, job.folds)
    folds = {} if job.kind == "weights" else changed_folds(runs, members[0].competition.slug)
    bundle = make_bundle(configs, job, folds)
    owner = owner or user_of_this_machine() or NOBODY
    metadata = metadata_for(bundle.job, members, owner, machine, SCRIPT.as_posix())
    return Built(bundle, metadata, tuple(wanted_weights(members)) if job.kind == "weights" else ())


def build(configs: Sequence[Path], job: Job, machine: Machine, runs: Path, owner: str | None = None) -> Built:
    """Write build/kernel.py, and bring kernel-metadata.json into step with it."""
    built = assemble(configs, job, machine, runs, owner)
    metadata = in_step(METADATA, built.metadata, _LAST)
    write_text(SCRIPT, built.bundle.text)
    write_json(METADATA, metadata)
    write_json(_LAST, built.metadata)
    return replace(built, metadata=metadata)


def jobs_of_folds(config: Path, job: Job) -> list[Job]:
    """A job for every fold of the config and, of an ensemble, every member."""
    loaded = load_config(config, job.overrides, job.seed)
    jobs = []
    for member in job.members_of(loaded):
        for fold in job.folds or folds_of(member):
            names = (member.name,) if isinstance(loaded, Ensemble) else ()
            jobs.append(job.model_copy(update={"members": names, "folds": (fold,)}))
    return jobs


def check_folds(member: Member, folds: Sequence[int]) -> None:
    """Those that cannot be are told now, not by a kernel after its start."""
    count = fold_count(member.competition)
    absent = [fold for fold in folds if count is not None and fold >= count]
    if absent:
        made = "only fold 0" if count == 1 else f"folds 0 to {count - 1}" if count else "none"
        raise ConfigError(f"{member.name}: there is no fold {absent[0]}; the competition file makes {made}")


def folds_of(member: Member) -> list[int]:
    if member.settings.folds is not None:
        return member.settings.folds
    count = fold_count(member.competition)
    if count is None:
        raise ConfigError(
            f"{member.name}: its folds stand in a table of the competition's data, which is read only where it trains;"
            " say which with --fold, or with folds: [0, 1, …] in the config"
        )
    return list(range(count))
