"""What one kernel is to do: which config, which part of it, and how. It travels in the script, as JSON."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from podium.config.ensemble import EnsembleSettings
from podium.config.kaggle_names import slug_of
from podium.config.kaggle_place import KaggleKind
from podium.config.loading import Ensemble, ExtraCheck, Member, is_ensemble, load_ensemble, load_member
from podium.config.settings import Settings
from podium.detection.loading import Detector, is_detector, load_detector
from podium.files import digest_of

HOURS_OF_A_SESSION = 12.0
"""After these Kaggle ends a kernel, and keeps nothing of it."""
SPARE_MINUTES = 25.0
"""Of a session, kept for what podium's own clock does not see: the machine's start, and storing the outputs."""
LONGEST_TITLE = 50
COMPETITION = "competition="
"""How an override begins that names another competition file."""

Kind = Literal["member", "ensemble", "detector", "weights"]
Model = Member | Detector
"""What is trained: it has a name, and settings with a backbone."""


class Job(Settings):
    """`config` is the path within the packed configs. `members` narrows an ensemble down to some of its own."""

    kind: Kind
    config: str = ""
    also: tuple[str, ...] = ()
    """More configs: pretrained weights are fetched for several at once."""
    members: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()
    overrides: tuple[str, ...] = ()
    """As a person gave them with --set."""
    competition: str = ""
    """The path within the packed configs of the competition file that such an override names."""
    seed: int | None = None
    limit: int | None = None
    limit_test: int | None = None
    dry_run: bool = False
    time_limit: float = HOURS_OF_A_SESSION * 3600 - SPARE_MINUTES * 60
    goes_on_from: str | None = None
    """The kernel (owner/slug) whose output holds the states to go on from; it is attached as a source."""
    attempt: int = 1

    @property
    def blends(self) -> bool:
        return self.kind == "ensemble" and not self.members

    @property
    def title(self) -> str:
        """The kernel's name, which is its slug as well: Kaggle makes the slug of the title."""
        names = ["podium", Path(self.config).stem, *self.members, *(f"fold{fold}" for fold in self.folds)]
        if self.kind == "weights":  # other configs' weights are another kernel: of one, its newest version is mounted
            names = ["podium", "weights", digest_of([self.config, *self.also]) if self.also else Path(self.config).stem]
        wishes = [self.overrides, self.seed, self.limit, self.limit_test, self.dry_run]
        if any(wishes):  # else a trial would take the place of the kernel in earnest
            names.append(digest_of(wishes))
        text = slug_of("-".join(names))
        if len(text) <= LONGEST_TITLE:
            return text
        return f"{text[: LONGEST_TITLE - 9].rstrip('-')}-{digest_of(text)}"  # cut off, two folds would be one kernel

    def overrides_among(self, configs: Path) -> tuple[str, ...]:
        """As they hold where the configs were unpacked."""
        if not self.competition:
            return self.overrides
        others = [one for one in self.overrides if not one.startswith(COMPETITION)]
        return (*others, f"{COMPETITION}{configs / self.competition}")

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "Job":
        """From what `model_dump(mode="json")` gave."""
        return cls.model_validate_json(json.dumps(dict(content)))

    def models_of(self, loaded: Ensemble | Model) -> tuple[Model, ...]:
        return (loaded,) if isinstance(loaded, Detector) else self.members_of(loaded)

    def members_of(self, loaded: Ensemble | Member) -> tuple[Member, ...]:
        if isinstance(loaded, Member):
            return (loaded,)
        return tuple(member for member in loaded.members if not self.members or member.name in self.members)


def digest_of_job(job: Job, models: Iterable[Model], blend: EnsembleSettings | None) -> str:
    """Of all that decides what it trains and blends, whichever file says so: the same for every version of a kernel."""
    trained = [[one.name, one.settings.model_dump(mode="json"), *_beside(one)] for one in models]
    wishes = job.model_dump(mode="json", include={"kind", "members", "folds", "seed", "limit", "limit_test", "dry_run"})
    return digest_of([trained, wishes, blend.model_dump(mode="json") if blend and job.blends else None])


def _beside(model: Model) -> list[Any]:
    if isinstance(model, Detector):
        return []
    return [model.competition.model_dump(mode="json", exclude={"data_at_kaggle"})]


def data_source(model: Model) -> tuple[KaggleKind, str] | None:
    """What a kernel attaches for its images."""
    return (model.settings if isinstance(model, Detector) else model.competition).kaggle_source


def kind_of(path: Path) -> Kind:
    return "ensemble" if is_ensemble(path) else "detector" if is_detector(path) else "member"


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
