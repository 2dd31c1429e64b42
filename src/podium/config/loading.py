"""Load configs: a competition, a member with its competition, an ensemble with its members."""

import copy
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from podium.config.competition import Competition
from podium.config.ensemble import EnsembleSettings
from podium.config.member import MemberSettings
from podium.config.problems import Problem, nearest, problems_of, raise_problems, repeated
from podium.config.reading import RGB
from podium.config.search import SearchValues
from podium.config.settings import Settings, decisive_keys
from podium.config.yaml_file import Override, Overrides, YamlFile, apply_overrides, parse_overrides, read_yaml
from podium.evaluation.metrics import OWN_METRIC
from podium.paths import FILE_NAME

Model = TypeVar("Model", bound=Settings)
ExtraCheck = Callable[[Mapping[str, Any], int], list[tuple[str, str]]]
"""Checks a config's content, given the channels of its images, with a heavy library and returns (key, message) for each
problem."""


_KIND_KEYS = {"members": "ensemble", "competition": "member", "metric": "competition", "source": "detector"}
"""A key that only one kind of file has."""


@dataclass(frozen=True)
class Member:
    """A model of an ensemble. The name is the stem of its file."""

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
    return load_settings(Competition, path)


def load_settings(
    model: type[Model], path: Path, overrides: Overrides = (), seed: int | None = None, check: ExtraCheck | None = None
) -> Model:
    """Load a file that refers to no other file. Problems of the file and the overrides are in one ConfigError."""
    parsed, problems = _parse_with_seed(overrides, seed)
    _, settings, more = _read(model, path, parsed, check)
    raise_problems(problems + more)
    assert settings is not None
    return settings


def load_member(
    path: Path, overrides: Overrides = (), seed: int | None = None, check: ExtraCheck | None = None
) -> Member:
    parsed, problems = _parse_with_seed(overrides, seed)
    member, more = _load_member(path, parsed, check)
    raise_problems(problems + more)
    assert member is not None
    return member


def load_ensemble(
    path: Path, overrides: Overrides = (), seed: int | None = None, check: ExtraCheck | None = None
) -> Ensemble:
    """Load an ensemble, its members and their competition.

    An override `KEY=VALUE` changes the ensemble, `MEMBER.KEY=VALUE` one of its members, `*.KEY=VALUE` all members.
    """
    parsed, problems = _parse_with_seed(overrides, seed)
    own = [override for override in parsed if override.first_key in EnsembleSettings.model_fields]
    file = read_yaml(path)
    apply_overrides(file, own)
    members, of_members = [], []
    for entry in _member_files(file):
        of_member = [override for given in parsed if (override := _for_member(given, Path(entry).stem))]
        if seed is not None:
            of_member.append(Override("seed", seed))
        member, more = _load_member(_relative_to(path, entry), of_member, check)
        of_members += more
        members += [member] if member else []
    settings, more = _validate(EnsembleSettings, file, check, members[0].competition if members else None)
    problems += [*_unused(file, parsed), *more, *of_members, *_members_agree(file, members)]
    problems += _check_ensemble(file, settings, members) if settings and members else []
    problems += _check_name(path.stem)
    raise_problems(problems)
    assert settings is not None
    return Ensemble(path.stem, settings, tuple(_apply_ensemble(member, settings) for member in members))


def make_member(
    name: str, settings: Mapping[str, Any], competition: Competition, check: ExtraCheck | None = None
) -> Member:
    """A member without a file: `settings` are the keys of a member file except `competition`."""
    file = YamlFile(Path(name), {**settings, "competition": competition.slug})
    valid, problems = _validate(MemberSettings, file, check, competition)
    if valid:
        problems += _check_folds(file, valid.folds, competition) + _check_target(file, valid, competition)
    raise_problems(problems)
    assert valid is not None
    return Member(name, valid, competition)


def make_ensemble(name: str, settings: Mapping[str, Any], members: Sequence[Member]) -> Ensemble:
    """An ensemble without a file: `settings` are the keys of an ensemble file except `members`."""
    file = YamlFile(Path(name), {**settings, "members": [member.name for member in members]})
    valid, problems = _validate(EnsembleSettings, file)
    problems += _members_agree(file, members) + _check_name(name)
    problems += _check_ensemble(file, valid, members) if valid and members else []
    raise_problems(problems)
    assert valid is not None
    return Ensemble(name, valid, tuple(_apply_ensemble(member, valid) for member in members))


def fold_count(competition: Competition) -> int | None:
    """How many folds the competition has; None if a table of its data decides."""
    folds = competition.folds
    if folds.kind == "table":
        return None
    return folds.count if folds.kind in ("stratified", "grouped") else 1


def is_ensemble(path: Path) -> bool:
    """Whether a file is an ensemble. Problems of the file are reported when it is loaded."""
    return "members" in read_yaml(path).content


def kind_in(file: YamlFile) -> str | None:
    """ensemble, member, competition or detector, by a key that only such files have."""
    return next((kind for key, kind in _KIND_KEYS.items() if key in file.content), None)


def files_of(path: Path) -> list[Path]:
    """The file and all files it refers to, without duplicates."""
    file = read_yaml(path)
    named = _member_files(file)
    if not named and isinstance(file.content.get("competition"), str):
        named = [file.content["competition"]]
    found = [path, *(below for entry in named for below in files_of(_relative_to(path, entry)))]
    own = OWN_METRIC.fullmatch(str(file.content.get("metric")))
    if own and not file.content.get("metric_code"):
        found.append(_relative_to(path, own["file"]))
    folds = file.content.get("folds")
    for named_file in (file.content.get("ignore"), folds.get("groups") if isinstance(folds, dict) else None):
        if isinstance(named_file, str):
            found.append(_relative_to(path, named_file))
    return list(dict.fromkeys(found))


def _read(
    model: type[Model], path: Path, overrides: Sequence[Override], check: ExtraCheck | None = None
) -> tuple[YamlFile, Model | None, list[Problem]]:
    file = read_yaml(path)
    apply_overrides(file, overrides)
    return file, *_validate(model, file, check)


def _validate(
    model: type[Model], file: YamlFile, check: ExtraCheck | None = None, competition: Competition | None = None
) -> tuple[Model | None, list[Problem]]:
    if file.is_unreadable:
        return None, file.problems
    if other := _other_kind(model, file):
        return None, [*file.problems, other]
    settings, found = None, []
    try:
        settings = model.model_validate(file.content, context={"folder": file.path.parent})
    except ValidationError as error:
        found = problems_of(error, model)
    except OSError as error:  # a value names a file that cannot exist
        found = [("", f"{error.filename}: {error.strerror}")]
    if check is not None:
        keys = {key for key, _ in found}
        channels = competition.reading.channels if competition else RGB
        found += [(key, message) for key, message in check(file.content, channels) if key not in keys]
    problems = file.problems + [file.problem(key, message) for key, message in found]
    return settings, sorted(problems, key=lambda problem: problem.line or 0)


def _other_kind(model: type[Settings], file: YamlFile) -> Problem | None:
    """A single problem if the file is of another kind, rather than one for each of its keys."""
    expected = next((kind for key, kind in _KIND_KEYS.items() if key in model.model_fields), None)
    kinds = [kind for key, kind in _KIND_KEYS.items() if key in file.content]
    if expected is None or expected in kinds or len(kinds) != 1:
        return None
    expected_file, got_file = (f"{'an' if kind == 'ensemble' else 'a'} {kind} file" for kind in (expected, kinds[0]))
    return Problem(str(file.path), "", f"expected {expected_file}, got {got_file}")


def _load_member(
    path: Path, overrides: Sequence[Override], check: ExtraCheck | None
) -> tuple[Member | None, list[Problem]]:
    prefix = "competition."
    own = [override for override in overrides if not override.key.startswith(prefix)]
    of_competition = [
        replace(override, key=override.key.removeprefix(prefix))
        for override in overrides
        if override.key.startswith(prefix)
    ]
    file = read_yaml(path)
    apply_overrides(file, own)
    competition, more = None, list[Problem]()
    if isinstance(named := file.content.get("competition"), str):
        _, competition, more = _read(Competition, _competition_file(file, named), of_competition)
    settings, problems = _validate(MemberSettings, file, check, competition)
    problems += more
    if settings and competition:
        problems += _check_folds(file, settings.folds, competition) + _check_target(file, settings, competition)
    problems += _check_search(file, competition, check)
    if problems or settings is None or competition is None:
        return None, problems
    return Member(path.stem, settings, competition), []


def _apply_ensemble(member: Member, ensemble: EnsembleSettings) -> Member:
    """The member with the ensemble's folds and tta, if the ensemble sets them."""
    changes = {key: value for key in ("folds", "tta") if (value := getattr(ensemble, key)) is not None}
    return replace(member, settings=member.settings.model_copy(update=changes)) if changes else member


def _member_files(file: YamlFile) -> list[str]:
    """The member files of an ensemble, even if the ensemble has other problems."""
    entries = file.content.get("members")
    texts = [entry for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []
    return list(dict.fromkeys(texts))


def _relative_to(path: Path, entry: str) -> Path:
    """A path in a config is relative to the config; `..` is resolved, so that messages have the usual path."""
    return Path(os.path.normpath(path.parent / entry))


def _competition_file(file: YamlFile, named: str) -> Path:
    """Relative to the member file; with --set it may also be relative to the working directory."""
    typed = Path(os.path.normpath(named))
    with suppress(OSError):  # a name that is too long
        if "competition" in file.overridden and typed.is_file():
            return typed
    return _relative_to(file.path, named)


def _check_name(name: str) -> list[Problem]:
    """Before anything is trained: a submission has the name of its ensemble."""
    if re.fullmatch(FILE_NAME, name):
        return []
    return [Problem(name, "", "cannot name an ensemble; expected letters, digits, dots, hyphens and underscores")]


def _members_agree(file: YamlFile, members: Sequence[Member]) -> list[Problem]:
    problems = []
    for member in members[1:]:
        if member.competition != members[0].competition:
            pair = " and ".join(f"{each.name} ({each.competition.slug})" for each in (members[0], member))
            problems.append(file.problem("members", f"{pair} have different competition files; expected the same"))
    names = [member.name for member in members]
    for name in repeated(names):
        problems.append(file.problem("members", f"two members are called {name}; a member's name is its file's stem"))
    return problems


def _check_folds(file: YamlFile, folds: Iterable[int] | None, competition: Competition) -> list[Problem]:
    count = fold_count(competition)
    if count is None:
        return []
    valid = "only fold 0" if count == 1 else f"folds 0 to {count - 1}"
    return [
        file.problem("folds", f"there is no fold {fold}; the competition has {valid}")
        for fold in folds or []
        if fold >= count
    ]


def _check_target(
    file: YamlFile, settings: MemberSettings | EnsembleSettings, competition: Competition
) -> list[Problem]:
    return [file.problem(key, message) for key, message in settings.problems_with(competition)]


def _check_ensemble(file: YamlFile, settings: EnsembleSettings, members: Sequence[Member]) -> list[Problem]:
    competition, tta = members[0].competition, settings.tta
    wrong_sizes = [member.settings.problem_of_sizes(tta) for member in members] if tta else []
    return [
        *_check_folds(file, settings.folds, competition),
        *_check_target(file, settings, competition),
        *(file.problem("tta.image_sizes", message) for message in wrong_sizes if message),
    ]


def _check_search(file: YamlFile, competition: Competition | None, check: ExtraCheck | None) -> list[Problem]:
    """Problems of the values that a search would try, each set alone, as with --set."""
    entries = file.content.get("search")
    if not entries or not isinstance(entries, dict):
        return []
    alone = {key: value for key, value in file.content.items() if key != "search"}

    def problems_with(override: Override | None) -> list[tuple[str, str]]:
        trial = YamlFile(file.path, copy.deepcopy(alone))
        apply_overrides(trial, [override] if override else [])
        settings, found = _validate(MemberSettings, trial, check, competition)
        found += _check_target(trial, settings, competition) if settings and competition else []
        return [(problem.key, problem.message) for problem in found]

    searchable = decisive_keys(MemberSettings) - {"monitor", "soup"}
    usual, problems = problems_with(None), []
    for key, values in entries.items():
        if str(key).partition(".")[0] not in searchable:
            message = "expected a key that affects the weights, as for --set, such as stages.0.learning_rate"
            problems.append(file.problem(f"search.{key}", message))
            continue
        try:
            ends = SearchValues.model_validate(values).ends
        except ValidationError:  # reported with the file
            continue
        for value in ends:
            found = [
                (below, message)
                for below, message in problems_with(Override(key, value))
                if (below, message) not in usual
            ]
            for below, message in found:
                problems.append(file.problem(f"search.{key}", message if below == key else f"{below}: {message}"))
    return problems


def _parse_with_seed(overrides: Overrides, seed: int | None) -> tuple[list[Override], list[Problem]]:
    parsed, problems = parse_overrides(overrides)
    return parsed if seed is None else [*parsed, Override("seed", seed)], problems


def _for_member(override: Override, name: str) -> Override | None:
    """The override for the member with this name; None if it does not apply to it."""
    if override.first_key == "competition":
        return override
    for owner in (f"{name}.", "*."):
        if override.key.startswith(owner):
            return replace(override, key=override.key.removeprefix(owner))
    return None


def _unused(file: YamlFile, overrides: Iterable[Override]) -> list[Problem]:
    """A problem for each override that applies neither to the ensemble nor to one of its members."""
    names = [Path(entry).stem for entry in _member_files(file)]
    keys = [*EnsembleSettings.model_fields, "competition"]
    return [
        Problem(
            f"--set ({file.path})",
            override.key,
            f"expected KEY, MEMBER.KEY or *.KEY{nearest(override.first_key, keys + names)}",
        )
        for override in overrides
        if override.first_key not in keys and not any(_for_member(override, name) for name in names)
    ]
