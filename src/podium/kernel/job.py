"""The job of one kernel: a config, the part of it to run, and the options. It is packed in the script as JSON."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from podium.config.ensemble import EnsembleSettings
from podium.config.kaggle_names import KaggleKind, slug_of
from podium.config.loading import Ensemble, ExtraCheck, Member, kind_in, load_ensemble, load_member
from podium.config.settings import Settings, decisive_keys
from podium.config.yaml_file import read_yaml
from podium.detection.loading import Detector, load_detector
from podium.files import digest_of

SESSION_HOURS = 12.0
"""Kaggle ends a kernel after this time and keeps none of its output."""
SPARE_MINUTES = 25.0
"""Part of a session reserved for what the job's time limit does not cover: start-up and storing the output."""
JOB_CHANGES = "PODIUM_JOB_CHANGES"
"""Environment variable with fields of the job, as JSON, that a rehearsal replaces."""
_MAX_TITLE = 50
_COMPETITION_OVERRIDE = "competition="
_WORKFLOWS = {
    "member": "podium.workflows.kernel_members",
    "ensemble": "podium.workflows.kernel_members",
    "detector": "podium.workflows.kernel_detector",
    "weights": "podium.kernel.pretrained",
    "inference": "podium.workflows.kernel_inference",
}

JobKind = Literal["member", "ensemble", "detector", "weights", "inference"]
Model = Member | Detector
"""A member or a detector: both have a name, and settings with a backbone."""


class Job(Settings):
    kind: JobKind
    config: str = ""
    """Path within the packed configs."""
    more_configs: tuple[str, ...] = ()
    """A weights job downloads the weights of several configs."""
    members: tuple[str, ...] = ()
    """The members of an ensemble to run; empty means all."""
    folds: tuple[int, ...] = ()
    overrides: tuple[str, ...] = ()
    """The values of --set."""
    competition: str = ""
    """Path within the packed configs of the competition file that an override names."""
    seed: int | None = None
    limit: int | None = None
    limit_test: int | None = None
    dry_run: bool = False
    time_limit: float = SESSION_HOURS * 3600 - SPARE_MINUTES * 60
    """Seconds."""
    accelerator: str = ""
    """Kaggle's name of the machine that the kernel asks for, which it checks first; empty without accelerator."""
    part: int = 1
    """A training that runs out of time continues in the next part, a kernel of its own: Kaggle attaches the newest
    output of a kernel, so the kernel to resume from must not get another version."""
    resume_from: str | None = None
    """The kernel (owner/slug) whose output has the checkpoints to resume from; it is attached as a source."""
    resume_digest: str = ""
    """The digest of the report in that output, by which the kernel checks that the expected output is mounted."""
    attempt: int = 1
    blend: str = ""
    """The finished blend that an inference job applies to the test set: the name of its folder."""
    trained_at: tuple[str, ...] = ()
    """Where Kaggle has the runs of that blend: `kaggle-dataset:<owner>/<slug>` or `kaggle-kernel:<owner>/<slug>`."""

    @property
    def workflow(self) -> str:
        """The module whose `run` does this job; the script does not contain those of other kinds."""
        return _WORKFLOWS[self.kind]

    @property
    def trains(self) -> bool:
        return self.kind not in ("weights", "inference")

    @property
    def blends(self) -> bool:
        return self.kind == "ensemble" and not self.members

    @property
    def title(self) -> str:
        """The kernel's title and slug; Kaggle derives the slug from the title.

        Jobs with different options get different titles, so that a trial does not replace the full run.
        """
        names = ["podium", Path(self.config).stem, *self.members, *(f"fold{fold}" for fold in self.folds)]
        if self.kind == "weights":
            configs = [self.config, *self.more_configs]
            names = ["podium", "weights", digest_of(configs) if self.more_configs else Path(self.config).stem]
        if self.kind == "inference":
            names.append("inference")
        options = [self.overrides, self.seed, self.limit, self.limit_test, self.dry_run]
        if any(options):
            names.append(digest_of(options))
        if self.part > 1:
            names.append(f"part{self.part}")
        title = slug_of("-".join(names))
        if len(title) <= _MAX_TITLE:
            return title
        return f"{title[: _MAX_TITLE - 9].rstrip('-')}-{digest_of(title)}"

    @property
    def named_competition(self) -> str | None:
        """The competition file that an override names, as given."""
        named = [text for text in self.overrides if text.startswith(_COMPETITION_OVERRIDE)]
        return named[-1].removeprefix(_COMPETITION_OVERRIDE) if named else None

    def overrides_in(self, configs: Path) -> tuple[str, ...]:
        """The overrides, with the path of a packed competition file in the folder of unpacked configs."""
        if not self.competition:
            return self.overrides
        others = [text for text in self.overrides if not text.startswith(_COMPETITION_OVERRIDE)]
        return (*others, f"{_COMPETITION_OVERRIDE}{configs / self.competition}")

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "Job":
        """Create a job from the output of `model_dump(mode="json")`."""
        return cls.model_validate_json(json.dumps(dict(content)))

    def models_of(self, loaded: Ensemble | Model) -> tuple[Model, ...]:
        return (loaded,) if isinstance(loaded, Detector) else self.members_of(loaded)

    def members_of(self, loaded: Ensemble | Member) -> tuple[Member, ...]:
        if isinstance(loaded, Member):
            return (loaded,)
        return tuple(member for member in loaded.members if not self.members or member.name in self.members)


def digest_of_job(job: Job, models: Iterable[Model], blend: EnsembleSettings | None, packed: Mapping[str, str]) -> str:
    """Digest of everything that determines the weights and the blend; all versions of a kernel share it.

    `packed` are its edited tables of folds and its labels by ensembles, by name.
    """
    trained: list[Any] = [dict(packed)] if packed else []
    for model in models:
        keys = None
        if isinstance(model, Member):
            keys = decisive_keys(type(model.settings)) | {"tta", "neighbours"}
        trained.append([model.name, model.settings.model_dump(mode="json", include=keys)])
        if isinstance(model, Member):
            trained[-1].append(model.competition.model_dump(mode="json", exclude={"data_at_kaggle"}))
    options = job.model_dump(
        mode="json", include={"kind", "members", "folds", "seed", "limit", "limit_test", "dry_run", "blend"}
    )
    return digest_of([trained, options, blend.model_dump(mode="json") if blend and job.blends else None])


def data_source(model: Model) -> tuple[KaggleKind, str] | None:
    """The source that a kernel attaches for the model's images."""
    return (model.settings if isinstance(model, Detector) else model.competition).kaggle_source


def kind_of(path: Path) -> JobKind:
    found = kind_in(read_yaml(path))
    return "ensemble" if found == "ensemble" else "detector" if found == "detector" else "member"


def load_config(
    path: Path, overrides: tuple[str, ...] = (), seed: int | None = None, check: ExtraCheck | None = None
) -> Ensemble | Model:
    match kind_of(path):
        case "ensemble":
            return load_ensemble(path, overrides, seed, check)
        case "detector":
            return load_detector(path, overrides, seed, check)
        case _:
            return load_member(path, overrides, seed, check)
