"""From files to validated configs: a competition, a member with its competition, an ensemble with its members."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from podium.config.competition import Competition
from podium.config.ensemble import EnsembleSettings
from podium.config.faults import Fault, faults_of, raise_faults
from podium.config.member import MemberSettings
from podium.config.yaml_file import Override, YamlFile, apply_overrides, read_yaml

Model = TypeVar("Model", bound=BaseModel)
ExtraCheck = Callable[[Mapping[str, Any]], list[tuple[str, str]]]
"""Looks at a member's content and returns (key, fault): what only a heavy library can tell."""


@dataclass(frozen=True)
class Member:
    """A member file, read: its name is the file's stem."""

    name: str
    settings: MemberSettings
    competition: Competition


@dataclass(frozen=True)
class Ensemble:
    name: str
    settings: EnsembleSettings
    members: tuple[Member, ...]

    @property
    def competition(self) -> Competition:
        return self.members[0].competition


def load_competition(path: Path, overrides: Sequence[str] = ()) -> Competition:
    parsed, faults = _parse_overrides(overrides)
    competition, more = _competition(path, parsed)
    raise_faults(faults + more)
    assert competition is not None
    return competition


def load_member(
    path: Path, overrides: Sequence[str] = (), seed: int | None = None, check: ExtraCheck | None = None
) -> Member:
    parsed, faults = _parse_overrides(overrides)
    member, more = _member(path, parsed, seed, check)
    raise_faults(faults + more)
    assert member is not None
    return member


def load_ensemble(
    path: Path, overrides: Sequence[str] = (), seed: int | None = None, check: ExtraCheck | None = None
) -> Ensemble:
    """Read an ensemble and all it names.

    An override `KEY=VALUE` is for the ensemble file, `MEMBER.KEY=VALUE` for one of its members, `*.KEY=VALUE` for all.
    """
    parsed, faults = _parse_overrides(overrides)
    read = read_yaml(path)
    names = [Path(member).stem for member in read.content.get("members") or [] if isinstance(member, str)]
    own = [override for override in parsed if override.key.split(".")[0] not in {*names, "*", "competition"}]
    apply_overrides(read, own)
    settings, more = _validated(EnsembleSettings, _with_seed(read, seed))
    faults += more
    members = []
    for entry in settings.members if settings else [m for m in read.content.get("members") or [] if isinstance(m, str)]:
        theirs = [_for_member(override, Path(entry).stem) for override in parsed]
        member, more = _member(path.parent / entry, [one for one in theirs if one], seed, check)
        faults += more
        members += [member] if member else []
    faults += _members_agree(path, members)
    raise_faults(faults)
    assert settings is not None
    return Ensemble(path.stem, settings, tuple(_as_the_ensemble_says(member, settings) for member in members))


def _as_the_ensemble_says(member: Member, settings: EnsembleSettings) -> Member:
    changes: dict[str, Any] = {}
    if settings.folds is not None:
        changes["folds"] = settings.folds
    if settings.tta is not None:
        changes["tta"] = settings.tta
    return replace(member, settings=member.settings.model_copy(update=changes)) if changes else member


def _members_agree(path: Path, members: Sequence[Member]) -> list[Fault]:
    faults = []
    for member in members[1:]:
        if member.competition != members[0].competition:
            message = f"{member.name} is for {member.competition.slug}, {members[0].name} for another competition file"
            faults.append(Fault(str(path), "members", f"{message}; all members of an ensemble share one"))
    names = [member.name for member in members]
    for name in sorted({name for name in names if names.count(name) > 1}):
        faults.append(Fault(str(path), "members", f"two files are called {name}; a member's name is its file's stem"))
    return faults


def _member(
    path: Path, overrides: Sequence[Override], seed: int | None, check: ExtraCheck | None
) -> tuple[Member | None, list[Fault]]:
    read = read_yaml(path)
    apply_overrides(read, [override for override in overrides if not override.key.startswith("competition.")])
    settings, faults = _validated(MemberSettings, _with_seed(read, seed))
    if check is not None:
        faults += [
            Fault(str(path), key, message, read.lines.get(key, read.lines.get(key.rsplit(".", 1)[0])))
            for key, message in check(read.content)
        ]
    named = read.content.get("competition")
    competition = None
    if isinstance(named, str):
        theirs = [
            replace(override, key=override.key.removeprefix("competition."))
            for override in overrides
            if override.key.startswith("competition.")
        ]
        competition, more = _competition(path.parent / named, theirs)
        faults += more
    if settings and competition:
        faults += _folds_exist(path, settings, competition, read.lines)
    if faults or settings is None or competition is None:
        return None, faults
    return Member(path.stem, settings, competition), []


def _folds_exist(
    path: Path, settings: MemberSettings, competition: Competition, lines: Mapping[str, int]
) -> list[Fault]:
    count = fold_count(competition)
    if count is None:
        return []
    return [
        Fault(
            str(path),
            "folds",
            f"there is no fold {fold}; the competition file makes 0 to {count - 1}",
            lines.get("folds"),
        )
        for fold in settings.folds or []
        if fold >= count
    ]


def fold_count(competition: Competition) -> int | None:
    """How many folds the competition file makes; None when a person's table decides."""
    folds = competition.folds
    if folds.kind == "table":
        return None
    return folds.count if folds.kind in ("stratified", "grouped") else 1


def _competition(path: Path, overrides: Sequence[Override]) -> tuple[Competition | None, list[Fault]]:
    read = read_yaml(path)
    apply_overrides(read, overrides)
    return _validated(Competition, read)


def _validated(model: type[Model], read: YamlFile) -> tuple[Model | None, list[Fault]]:
    if read.faults and not read.content:
        return None, read.faults
    try:
        return model.model_validate(read.content), list(read.faults)
    except ValidationError as error:
        return None, read.faults + faults_of(error, model, read.path, read.lines)


def _with_seed(read: YamlFile, seed: int | None) -> YamlFile:
    if seed is not None and read.content:
        read.content["seed"] = seed
    return read


def _parse_overrides(texts: Sequence[str]) -> tuple[list[Override], list[Fault]]:
    parsed = [Override.parse(text) for text in texts]
    overrides = [one for one in parsed if isinstance(one, Override)]
    return overrides, [one for one in parsed if isinstance(one, Fault)]


def _for_member(override: Override, name: str) -> Override | None:
    first, _, rest = override.key.partition(".")
    if first == "competition":
        return override
    return replace(override, key=rest) if first in (name, "*") and rest else None
