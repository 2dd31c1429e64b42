"""`podium kernel build`: the script and its metadata, written in step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from podium.config.kaggle_names import KernelRef
from podium.config.loading import Ensemble, Member, fold_count
from podium.detection.loading import Detector
from podium.errors import ConfigError
from podium.files import write_json, write_text
from podium.kernel.boxes import check_data, travelling_set
from podium.kernel.bundle import Bundle, make_bundle
from podium.kernel.job import Job, Model, kind_of, load_config
from podium.kernel.metadata import METADATA, NOBODY, Machine, in_step, metadata_for, ref_of
from podium.kernel.pretrained import wanted_weights
from podium.kernel.secrets import user_of_this_machine
from podium.runs import edited_folds

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
    kind = kind_of(config)
    if kind == "detector" and (wishes.get("folds") or wishes.get("limit_test")):
        raise ConfigError(
            f"{config}: a detector has one training, and no test rows to predict: no --fold, --limit-test"
        )
    return Job(kind=kind, **wishes)


def assemble(configs: Sequence[Path], job: Job, machine: Machine, runs: Path, owner: str | None = None) -> Built:
    """Make a bundle and its metadata, and write nothing."""
    loaded = [load_config(config, job.overrides, job.seed) for config in configs]
    models = [model for one in loaded for model in job.models_of(one)]
    for model in models:
        if isinstance(model, Member):
            check_folds(model, job.folds)
    bundle = make_bundle(configs, job) if job.kind == "weights" else _with_tables(configs, job, models[0], runs)
    owner = owner or user_of_this_machine() or NOBODY
    metadata = metadata_for(bundle.job, models, owner, machine, SCRIPT.as_posix())
    return Built(bundle, metadata, tuple(wanted_weights(models)) if job.kind == "weights" else ())


def _with_tables(configs: Sequence[Path], job: Job, first: Model, runs: Path) -> Bundle:
    """With what lies here and decides which images train: folds that a person changed, or a detector's set."""
    if isinstance(first, Detector):
        check_data(first)
        return make_bundle(configs, job, boxes=travelling_set(first, runs))
    return make_bundle(configs, job, edited_folds(runs, first.competition.slug))


def build(configs: Sequence[Path], job: Job, machine: Machine, runs: Path, owner: str | None = None) -> Built:
    """Write build/kernel.py, and bring kernel-metadata.json into step with it."""
    built = assemble(configs, job, machine, runs, owner)
    metadata = in_step(METADATA, built.metadata, _LAST)
    write_text(SCRIPT, built.bundle.text)
    write_json(METADATA, metadata)
    write_json(_LAST, built.metadata)
    return replace(built, metadata=metadata)


def jobs_of_folds(config: Path, job: Job) -> list[Job]:
    """A job for every fold of the config and, of an ensemble, every member; of a detector the one there is."""
    loaded = load_config(config, job.overrides, job.seed)
    if isinstance(loaded, Detector):
        return [job.model_copy(update={"config": config.name})]
    jobs = []
    for member in job.members_of(loaded):
        for fold in job.folds or folds_of(member):
            which = {"members": (member.name,)} if isinstance(loaded, Ensemble) else {"config": config.name}
            jobs.append(job.model_copy(update={**which, "folds": (fold,)}))
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
