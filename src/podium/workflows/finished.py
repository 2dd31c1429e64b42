"""Finished runs, found by their config or their folder: the folds of a member, or a blend with its members' folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.config.competition import Competition
from podium.config.dry_run import as_dry_run
from podium.config.loading import Ensemble, Member, fold_count
from podium.config.resolved import read_resolved, validated
from podium.config.settings import decisive_keys
from podium.errors import RunError
from podium.files import read_json
from podium.models.preset_places import is_at_hand
from podium.options import RunOptions
from podium.runs import Run, has_types, read_predictions_facts, trained_folds
from podium.workflows.fold_runs import resolved_settings

_DECISIVE = {"target", "metric", "metric_code", "intensity", "pages", "channels", "ignore"}
"""What decides the weights of a competition's members, besides its data."""


@dataclass(frozen=True)
class FinishedBlend:
    """A blend, and the predictions that it was made from."""

    path: Path
    facts: dict[str, Any]
    """The content of blend.json."""
    predictions: list[Path]
    """The folder of each fold's predictions, which is in its run folder."""

    @property
    def competition(self) -> Competition:
        return validated(Competition, self.facts["config"], self.path / "blend.json")

    def check(self) -> None:
        """Raise an error unless every run has the weights that the blend was made with."""
        for predictions, digest in zip(self.predictions, self.facts["digests"], strict=True):
            run = Run(predictions.parent)
            found = read_predictions_facts(predictions).get("weights")
            if not run.is_trained or not found == digest == run.best.get("digest"):
                raise RunError(
                    f"{self.path} was made from {predictions}, which is missing or by other weights than then: predict"
                    " and blend again"
                )


_NUMBER = int | float
_BLEND_TYPES = {
    "ensemble": str, "members": dict, "predictions": list, "digests": list, "config": dict, "blend": dict,
    "score": _NUMBER, "standard_error": _NUMBER, "metric": str,
}  # fmt: skip
_FITTED_TYPES = {
    "method": str, "weights": dict, "weight_errors": dict, "temperatures": dict, "adds_nothing": list, "left_out": list,
}  # fmt: skip
"""Of the values of `blend`."""


def read_blend(folder: Path) -> FinishedBlend:
    facts = read_json(folder / "blend.json")
    if not facts:
        raise RunError(f"{folder} has no blend.json; expected the folder of a blend, which podium blend writes")
    is_valid = _BLEND_TYPES.keys() <= facts.keys() and has_types(facts, _BLEND_TYPES)
    if not is_valid or not _are_texts(facts["predictions"]) or not _is_fitted(facts["blend"]):
        raise RunError(f"{folder / 'blend.json'} is damaged; expected what podium blend writes: blend again")
    return FinishedBlend(folder, facts, [folder.parent / name for name in facts["predictions"]])


def _is_fitted(blend: dict[str, Any]) -> bool:
    """Whether the description of a fitted blend has the types of _FITTED_TYPES, with numbers and names in them."""
    if "method" not in blend or not has_types(blend, _FITTED_TYPES):
        return False
    numbers = [blend.get(key, {}) for key in ("weights", "weight_errors", "temperatures")]
    names = [blend.get(key, []) for key in ("adds_nothing", "left_out")]
    are_numbers = all(has_types(part, dict.fromkeys(part, _NUMBER)) for part in numbers)
    return are_numbers and all(map(_are_texts, names)) and all(error >= 0 for error in numbers[1].values())


def _are_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def find_blend(ensemble: Ensemble, runs: Path) -> FinishedBlend:
    """The newest finished blend of an ensemble with this config."""
    found = sorted(runs.glob(f"{ensemble.name}-*/blend.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    blends = [read_blend(path.parent) for path in found]
    blend = next((blend for blend in blends if _is_of_ensemble(blend, ensemble)), None)
    if blend is None:
        others = f"; {blends[0].path} has another config" if blends else ""
        raise RunError(
            f"{ensemble.name}: no finished blend with this config in {runs}{others}: run podium run or podium blend"
            " with the same config first"
        )
    blend.check()
    return blend


def _is_of_ensemble(blend: FinishedBlend, ensemble: Ensemble) -> bool:
    facts, settings = blend.facts, ensemble.settings.blending
    members = {member.name: member for member in ensemble.members}
    if facts.get("ensemble") != ensemble.name or list(facts["members"]) != list(members):
        return False
    if not settings.items() <= facts["blend"].items() or not all(folder.is_dir() for folder in blend.predictions):
        return False
    for folder in blend.predictions:
        config, facts_of_fold = read_resolved(Run(folder.parent)), read_predictions_facts(folder)
        member = members[config["name"]]
        if config["limit"] is not None or not _is_of_member(config, member):
            return False
        if member.settings.predicting != facts_of_fold.get("settings"):
            return False
    return all(_has_folds(facts["members"][name]["folds"], member) for name, member in members.items())


def _has_folds(folds: Sequence[int], member: Member) -> bool:
    """Whether these are all folds of the member, as far as its config knows them."""
    count = fold_count(member.competition)
    expected = member.settings.folds or (None if count is None else range(count))
    return expected is None or sorted(folds) == sorted(expected)


def _is_of_member(config: dict[str, Any], member: Member) -> bool:
    settings, before, competition = resolved_settings(member), config["member"], member.competition
    if competition.has_classes and config["inputs"]["labels"] != competition.labels:
        return False
    decisive = competition.model_dump(mode="json", by_alias=True, include=_DECISIVE)
    if any(config["competition"].get(key) != value for key, value in decisive.items()):
        return False
    return all(before.get(key) == settings[key] for key in decisive_keys(type(member.settings)))


def find_member(member: Member, options: RunOptions) -> list[Run]:
    """The trained folds of a member with this config, of its newest run folder that has any."""
    if options.dry_run:
        member = as_dry_run(member, is_at_hand)
    candidates = [trained_folds(folder, options.folds) for folder in options.runs.glob(f"{member.name}-*")]
    wanted = {"name": member.name, "dry_run": options.dry_run, "limit": options.limit}
    matching = [
        runs
        for runs in candidates
        if runs and wanted.items() <= (config := read_resolved(runs[0])).items() and _is_of_member(config, member)
    ]
    if not matching:
        raise RunError(
            f"{member.name} is not trained with this config in {options.runs}; run podium train with the same config"
            " and options, or name a run folder instead of the config"
        )
    return max(matching, key=lambda runs: runs[0].best_weights.stat().st_mtime)
