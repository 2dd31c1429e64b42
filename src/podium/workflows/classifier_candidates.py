"""Classifiers behind the folders that `podium compare` is given: their predictions, what made them, what they cost.

runs/xception-1a2b3c4d                               a member: all of its folds that are predicted
runs/xception-1a2b3c4d/fold0                         one fold
runs/xception-1a2b3c4d/fold0/predictions-7481c133    one fold, by these of several options of views
runs/sf_dl_cars-5e6f7a8b                             a blend
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from podium.config.differences import differences
from podium.errors import RunError
from podium.evaluation.metrics import METRICS
from podium.files import digest_of, read_json
from podium.runs import Run
from podium.workflows.candidates import TIMED, Contender, seconds_of, versions_of
from podium.workflows.ensembles import DRY_RUN

OUT_OF_FOLD = "oof.csv"


@dataclass(frozen=True, kw_only=True)
class ClassifierContender(Contender):
    metric: str

    @property
    def files(self) -> list[Path]:
        """Its out-of-fold predictions, a file a fold."""
        return [folder / OUT_OF_FOLD for folder in self.folders]


def find_classifier(letter: str, path: Path) -> ClassifierContender:
    if (path / "blend.json").is_file():
        return _blend(letter, path)
    if (path / "predictions.json").is_file():
        return _member(letter, path, [Run(path.parent)], path.name)
    folds = [one for one in path.glob("fold[0-9]*") if one.name[4:].isdecimal()]
    if folds:
        return _member(letter, path, [Run(one) for one in sorted(folds, key=lambda one: int(one.name[4:]))])
    if any((path / part).exists() for part in ("config.yaml", "state.json")):
        return _member(letter, path, [Run(path)])
    raise RunError(
        f"{path} is no run; expected a member's folder, such as runs/xception-1a2b3c4d, one of its folds, a blend's"
        " folder, or a detector's: podium runs lists all but the blends'"
    )


def _blend(letter: str, path: Path) -> ClassifierContender:
    facts = read_json(path / "blend.json")
    try:
        metric = _known_metric(facts["metric"])
        config = {
            "blend": dict(facts["blend"]),
            "members": {name: member["folds"] for name, member in facts["members"].items()},
        }
        slug, versions = str(facts["competition"]), {"commit": str(facts.get("commit", "unknown"))}
        is_dry_run = DRY_RUN in str(facts.get("submission"))
        members = [Run((path.parent / one).parent) for one in facts.get("made_of", [])]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RunError(
            f"{path / 'blend.json'} does not say what was blended; expected what podium blend writes: blend again"
        ) from None
    return ClassifierContender(
        letter=letter, path=path, folders=[path], slug=slug, metric=metric, config=config, versions=versions,
        seconds=seconds_of(members) if members else dict.fromkeys(TIMED), is_blend=True, is_dry_run=is_dry_run,
        notes=[f"{letter} is a blend: its cost is that of its members" + ", all folds together" * bool(members)],
    )  # fmt: skip


def _member(letter: str, path: Path, runs: Sequence[Run], asked: str | None = None) -> ClassifierContender:
    """Of its folds those that are predicted, all by the same choice of views."""
    options = {run.path: _choices(run) for run in runs}
    predicted = [run for run in runs if options[run.path]]
    if not predicted:
        raise RunError(_why_unpredicted(runs[0]))
    left_out = [_why_unpredicted(run) for run in runs if run not in predicted]
    notes = [f"{letter} without a fold: {why}" for why in left_out]
    shared = [name for name in options[predicted[0].path] if all(name in options[run.path] for run in predicted)]
    if asked is None and not shared:
        raise RunError(
            f"the folds of {path} were predicted through different views, so they are no one run; expected one choice"
            " for all: run podium predict with the same config for each"
        )
    chosen = asked or shared[0]
    if asked is not None and asked not in shared:
        raise RunError(_is_stale(path))
    folders = [run.path / chosen for run in predicted]
    if asked is None and len(shared) > 1:
        notes.append(
            f"{letter} was predicted through {len(shared)} options of views; these figures are of {chosen}, and its"
            f" minutes of the last: name {folders[0].parent / shared[1]} for another's"
        )
    configs = [_config(run) for run in predicted]
    made_of = [_made_of(config, folder) for config, folder in zip(configs, folders, strict=True)]
    uneven = [one.key for one in differences(made_of)]
    if uneven:
        notes.append(f"{letter} differs between its own folds in {', '.join(uneven)}; shown is {predicted[0].path}")
    return ClassifierContender(
        letter=letter, path=path, folders=folders, slug=configs[0]["competition"]["slug"],
        metric=configs[0]["competition"]["metric"], config=made_of[0],
        versions=_joined([versions_of(run) for run in predicted]), seconds=seconds_of(predicted),
        is_dry_run=bool(configs[0].get("dry_run")), limit=configs[0].get("limit"), notes=notes,
    )  # fmt: skip


def _choices(run: Run) -> list[str]:
    """Folders of predictions by the run's best weights: that of its config's own views first, then the last made."""
    best = run.state.get("best") or {}
    found = []
    for facts in run.path.glob("predictions-*/predictions.json"):
        try:
            weights = read_json(facts).get("weights")
        except RunError:  # damaged: predicting again makes it
            continue
        if weights == best.get("digest", weights) and (facts.parent / OUT_OF_FOLD).is_file():
            found.append(facts)
    last_first = sorted(found, key=lambda facts: (facts.stat().st_mtime_ns, facts.parent.name), reverse=True)
    names = [facts.parent.name for facts in last_first]
    own = run.predictions(digest_of([_config(run)["member"].get("tta"), None])).name if names else ""
    return sorted(names, key=lambda name: name != own)


def _why_unpredicted(run: Run) -> str:
    if any(run.path.glob(f"predictions-*/{OUT_OF_FOLD}")):
        return _is_stale(run.path)
    if run.state.get("status") == "trained":
        return f"{run.path} is trained, but not predicted; podium predict with the same config does that"
    command = run.state.get("command") if run.checkpoints else None
    return f"{run.path} is not trained yet, so it has predicted nothing; go on with: {command or 'podium train'}"


def _is_stale(path: Path) -> str:
    return f"{path} has no whole predictions by its best weights; podium predict with the same config makes them"


def _config(run: Run) -> dict[str, Any]:
    """The resolved config, as far as it is needed."""
    try:
        content = yaml.safe_load(run.config.read_text(encoding="utf-8"))
        _known_metric(content["competition"]["metric"])
        if not (isinstance(content["competition"]["slug"], str) and isinstance(content["member"], dict)):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        raise RunError(
            f"{run.config} does not say what that run was made of; expected the resolved config that podium train"
            " writes: put back a copy of it"
        ) from None
    assert isinstance(content, dict)
    return content


def _known_metric(name: Any) -> str:
    if name not in METRICS:
        raise ValueError
    return str(name)


def _made_of(config: Mapping[str, Any], predictions: Path) -> dict[str, Any]:
    """The keys as a config file and `--set` have them, with the views that predicted instead of those of the config."""
    facts = read_json(predictions / "predictions.json")
    tta = {key: facts.get(key) for key in ("views", "mean", "select")}
    competition = {key: value for key, value in config["competition"].items() if key != "title"}
    digests = {key: value for key, value in (config.get("made_of") or {}).items() if key != "labels"}
    more = {key: config.get(key) for key in ("limit", "dry_run")}
    return {"precision": "auto", **config["member"], "tta": tta, **more, "competition": competition, "made_of": digests}


def _joined(folds: Sequence[Mapping[str, str]]) -> dict[str, str]:
    names = dict.fromkeys(name for fold in folds for name in fold)
    return {name: " and ".join(dict.fromkeys(fold[name] for fold in folds if name in fold)) for name in names}
