"""Detectors behind the folders that `podium compare` is given: what each found on a part of its set, and what made it.

runs/boats-1a2b3c4d          a detector
runs/boats-1a2b3c4d/fold0    the same
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from podium.detection.detector_run import EVALUATION, FIGURES, last_evaluation
from podium.errors import RunError
from podium.files import read_json
from podium.runs import Run
from podium.workflows.candidates import Contender, seconds_of, versions_of


@dataclass(frozen=True)
class Search:
    """What a detector found on one part of its set, and what was told of it then."""

    file: Path
    images: int
    """The first so many of the part: a dry run takes few."""
    threshold: float
    ap50: float | None


@dataclass(frozen=True, kw_only=True)
class DetectorContender(Contender):
    trained_on: ClassVar[str] = "images"

    run: Run
    classes: list[str]

    @property
    def what(self) -> str:
        return "detector"

    @property
    def made_of(self) -> dict[str, Any]:
        """Digests of its set as it was."""
        return dict(self.config["made_of"])

    def why_not_on_test(self) -> str | None:
        """What there is instead of a search of the test part that counts, if there is none."""
        known, is_of_present_weights = last_evaluation(self.run)
        if "test" not in (known.get("parts") or ()):
            return "without an evaluation of the test part, which podium detect evaluate makes"
        if not is_of_present_weights:
            return "evaluated with weights that it no longer has, so podium detect evaluate has to do it again"
        return None

    def searched(self, part: str) -> Search:
        """The test part as it was evaluated, the validation part as training left it."""
        if part == "test":
            facts, folder = self.run.path / EVALUATION / FIGURES, self.run.path / EVALUATION
            return _search(facts, (last_evaluation(self.run)[0].get("parts") or {}).get(part), folder / f"{part}.csv")
        facts = self.run.path / "validation.json"
        return _search(facts, read_json(facts), self.run.path / "validation_boxes.csv")


def is_detector(path: Path) -> bool:
    """Whether the run was made of a detector file; where its config cannot be read it is taken for a member's."""
    for file in (path / "config.yaml", *sorted(path.glob("fold[0-9]*/config.yaml"))):
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        return isinstance(content, dict) and "detector" in content
    return False


def find_detector(letter: str, path: Path) -> DetectorContender:
    run = Run(path if (path / "config.yaml").is_file() else path / "fold0")
    config = _config(run)
    if run.state.get("status") != "trained":
        command = run.state.get("command") if run.checkpoints else None
        raise RunError(f"{run.path} is not trained yet; go on with: {command or 'podium detect train'}")
    classes = list(config["made_of"]["labels"])
    return DetectorContender(
        letter=letter, path=path, folders=[run.path], slug=config["detector"]["slug"], config=_made_of(config),
        versions=versions_of(run), seconds=seconds_of([run]), is_dry_run=bool(config.get("dry_run")),
        limit=config.get("limit"), run=run, classes=classes,
    )  # fmt: skip


def _config(run: Run) -> dict[str, Any]:
    """The resolved config, as far as it is needed."""
    try:
        content = yaml.safe_load(run.config.read_text(encoding="utf-8"))
        labels = content["made_of"]["labels"]
        if not (
            isinstance(content["detector"]["slug"], str) and labels and all(isinstance(one, str) for one in labels)
        ):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        raise RunError(
            f"{run.config} does not say what that run was made of; expected the resolved config that podium detect"
            " train writes: put back a copy of it"
        ) from None
    assert isinstance(content, dict)
    return content


def _made_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys as a detector file and `--set` have them."""
    detector = {key: value for key, value in config["detector"].items() if key != "title"}
    digests = {key: value for key, value in config["made_of"].items() if key != "labels"}
    return {**detector, **{key: config.get(key) for key in ("limit", "dry_run")}, "made_of": digests}


def _search(facts: Path, told: Any, file: Path) -> Search:
    try:
        ap50 = told["ap50"]
        return Search(file, int(told["images"]), float(told["threshold"]), None if ap50 is None else float(ap50))
    except (KeyError, TypeError, ValueError):
        raise RunError(
            f"{facts} does not tell the images, the threshold and the AP of that part; expected what podium writes"
            " there: put back a copy of it, or evaluate again"
        ) from None
