"""From files to validated configs: a competition, a member with its competition, an ensemble with its members."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from podium.config.competition import Competition
from podium.config.ensemble import EnsembleSettings
from podium.config.member import MemberSettings
from podium.config.problems import Problem, nearest, problems_of, raise_problems
from podium.config.yaml_file import Override, YamlFile, apply_overrides, read_yaml

Model = TypeVar("Model", bound=BaseModel)
ExtraCheck = Callable[[Mapping[str, Any]], list[tuple[str, str]]]
"""Looks at a member's content and returns (key, problem): what only a heavy library can tell."""


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


def load_competition(path: Path) -> Competition:
    competition, problems = _competition(path, [])
    raise_problems(problems)
    assert competition is not None
    return competition


def load_member(
    path: Path, overrides: Sequence[str] = (), seed: int | None = None, check: ExtraCheck | None = None
) -> Member:
    parsed, problems = parse_overrides(overrides)
    member, more = _member(path, parsed, seed, check)
    raise_problems(problems + more)
    assert member is not None
    return member


def load_ensemble(
    path: Path, overrides: Sequence[str] = (), seed: int | None = None, check: ExtraCheck | None = None
) -> Ensemble:
    """Read an ensemble and all it names.

    An override `KEY=VALUE` is for the ensemble file, `MEMBER.KEY=VALUE` for one of its members, `*.KEY=VALUE` for all.
    """
    parsed, problems = parse_overrides(overrides)
    read = read_yaml(path)
    apply_overrides(read, [override for override in parsed if override.first_key in EnsembleSettings.model_fields])
    problems += _for_nobody(read, parsed)
    settings, more = validated(EnsembleSettings, with_seed(read, seed), check)
    problems += more
    members = []
    for entry in _named_members(read):
        theirs = [_for_member(override, Path(entry).stem) for override in parsed]
        member, more = _member(_beside(path, entry), [one for one in theirs if one], seed, check)
        problems += more
        members += [member] if member else []
    problems += _members_agree(read, members)
    if settings and members:
        problems += _folds_exist(read, settings.folds, members[0].competition)
    raise_problems(problems)
    assert settings is not None
    return Ensemble(path.stem, settings, tuple(_as_the_ensemble_says(member, settings) for member in members))


def _as_the_ensemble_says(member: Member, settings: EnsembleSettings) -> Member:
    changes: dict[str, Any] = {}
    if settings.folds is not None:
        changes["folds"] = settings.folds
    if settings.tta is not None:
        changes["tta"] = settings.tta
    return replace(member, settings=member.settings.model_copy(update=changes)) if changes else member


def _named_members(read: YamlFile) -> list[str]:
    """The member files that an ensemble names, also where something else in it is wrong."""
    entries = read.content.get("members")
    return (
        list(dict.fromkeys(entry for entry in entries if isinstance(entry, str))) if isinstance(entries, list) else []
    )


def _beside(path: Path, entry: str) -> Path:
    """What a file calls `entry`, seen from there; `..` is folded, so that messages name it as a person would."""
    return Path(os.path.normpath(path.parent / entry))


def _competition_file(read: YamlFile, named: str) -> Path:
    """Seen from the member file; what a person types with --set may also be seen from where podium is run."""
    typed = Path(os.path.normpath(named))
    return typed if "competition" in read.overridden and typed.is_file() else _beside(read.path, named)


def _members_agree(read: YamlFile, members: Sequence[Member]) -> list[Problem]:
    problems = []
    for member in members[1:]:
        if member.competition != members[0].competition:
            pair = " and ".join(f"{one.name} ({one.competition.slug})" for one in (members[0], member))
            problems.append(read.problem("members", f"{pair} have different competition files; expected one for all"))
    names = [member.name for member in members]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(read.problem("members", f"two files are called {name}; a member's name is its file's stem"))
    return problems


def _member(
    path: Path, overrides: Sequence[Override], seed: int | None, check: ExtraCheck | None
) -> tuple[Member | None, list[Problem]]:
    read = read_yaml(path)
    apply_overrides(read, [override for override in overrides if not override.key.startswith("competition.")])
    settings, problems = validated(MemberSettings, with_seed(read, seed), check)
    named = read.content.get("competition")
    competition = None
    if isinstance(named, str):
        theirs = [
            replace(override, key=override.key.removeprefix("competition."))
            for override in overrides
            if override.key.startswith("competition.")
        ]
        competition, more = _competition(_competition_file(read, named), theirs)
        problems += more
    if settings and competition:
        problems += _folds_exist(read, settings.folds, competition)
    if problems or settings is None or competition is None:
        return None, problems
    return Member(path.stem, settings, competition), []


def _folds_exist(read: YamlFile, folds: Iterable[int] | None, competition: Competition) -> list[Problem]:
    count = fold_count(competition)
    if count is None:
        return []
    made = "only fold 0" if count == 1 else f"folds 0 to {count - 1}"
    return [
        read.problem("folds", f"there is no fold {fold}; the competition file makes {made}")
        for fold in folds or []
        if fold >= count
    ]


def fold_count(competition: Competition) -> int | None:
    """How many folds the competition file makes; None when a person's table decides."""
    folds = competition.folds
    if folds.kind == "table":
        return None
    return folds.count if folds.kind in ("stratified", "grouped") else 1


def _competition(path: Path, overrides: Sequence[Override]) -> tuple[Competition | None, list[Problem]]:
    read = read_yaml(path)
    apply_overrides(read, overrides)
    return validated(Competition, read)


def validated(
    model: type[Model], read: YamlFile, check: ExtraCheck | None = None
) -> tuple[Model | None, list[Problem]]:
    if read.is_unreadable:
        return None, read.problems
    settings, told = None, []
    try:
        settings = model.model_validate(read.content)
    except ValidationError as error:
        told = problems_of(error, model)
    if check is not None:
        keys = {key for key, _ in told}
        told += [(key, message) for key, message in check(read.content) if key not in keys]
    problems = read.problems + [read.problem(key, message) for key, message in told]
    return settings, sorted(problems, key=lambda problem: problem.line or 0)


def with_seed(read: YamlFile, seed: int | None) -> YamlFile:
    if seed is not None and read.content:
        read.content["seed"] = seed
    return read


def parse_overrides(texts: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    parsed = [Override.parse(text) for text in texts]
    overrides = [one for one in parsed if isinstance(one, Override)]
    return overrides, [one for one in parsed if isinstance(one, Problem)]


def _for_member(override: Override, name: str) -> Override | None:
    if override.first_key == "competition":
        return override
    for owner in (f"{name}.", "*."):
        if override.key.startswith(owner):
            return replace(override, key=override.key.removeprefix(owner))
    return None


def _for_nobody(read: YamlFile, overrides: Iterable[Override]) -> list[Problem]:
    """Overrides that name neither a key of the ensemble nor one of its members."""
    names = [Path(entry).stem for entry in _named_members(read)]
    keys = [*EnsembleSettings.model_fields, "competition"]
    return [
        Problem(
            f"--set ({read.path})", one.key, f"expected KEY, MEMBER.KEY or *.KEY{nearest(one.first_key, keys + names)}"
        )
        for one in overrides
        if one.first_key not in keys and not any(_for_member(one, name) for name in names)
    ]


def is_ensemble(path: Path) -> bool:
    """Whether a file is an ensemble's; one that cannot be read is told when it is loaded."""
    return "members" in read_yaml(path).content


def files_of(path: Path) -> list[Path]:
    """The file itself and every file it names, that a config is made of; each once."""
    read = read_yaml(path)
    named = _named_members(read)
    if not named and isinstance(read.content.get("competition"), str):
        named = [read.content["competition"]]
    found = [path, *(one for entry in named for one in files_of(_beside(path, entry)))]
    return list(dict.fromkeys(found))
