"""python -m benchmarks.techniques [--member FILE] [--set KEY=VALUE] [--data DIR] [--only NAME] [--seeds N] [--out FILE]
    [--work DIR] [--page FILE]

Trains a member with and without each technique of docs/recipes.md, with several seeds, and writes the differences of
their scores on the validation rows of the first fold to benchmarks/techniques.json and the table of docs/recipes.md.
What the file has is not measured again, so it can be stopped and continued, and techniques added one at a time.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import podium
from benchmarks.report import write_between
from benchmarks.rounds import ROOT
from podium.config.loading import Member
from podium.config.problems import raise_problems
from podium.config.yaml_file import parse_overrides
from podium.console import make_console
from podium.errors import ConfigError
from podium.files import digest_of, write_json
from podium.options import RunOptions
from podium.paths import labels_folder
from podium.workflows.fold_runs import FoldRun
from podium.workflows.pseudo import make_labels

START, END = "<!-- make recipes -->\n", "<!-- end of make recipes -->"


def larger_sizes(member: Member) -> dict[str, Any]:
    """Images of four sizes from that of the last stage on, for predictions."""
    size, views = member.settings.stages[-1].image_size, member.settings.tta.model_dump(mode="json")
    sizes = {round(size * factor / 16) * 16 for factor in (1.0, 1.125, 1.25, 1.375)}
    return {"tta": views | {"image_sizes": sorted(sizes), "average_sizes": False}}


def mean_of_larger_sizes(member: Member) -> dict[str, Any]:
    return {"tta": larger_sizes(member)["tta"] | {"average_sizes": True}}


def growing(member: Member) -> dict[str, Any]:
    """Each stage that trains the backbone begins with two thirds of its epochs on images of three quarters the size."""
    stages: list[dict[str, Any]] = []
    for stage in member.settings.stages:
        content = stage.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        first = round(stage.epochs * 2 / 3)
        if stage.unfreeze.is_none or not 0 < first < stage.epochs:
            stages.append(content)
            continue
        size = round(stage.image_size * 0.75 / 16) * 16
        stages.append(content | {"name": f"small_{stage.name}", "epochs": first, "image_size": size})
        last = {"epochs": stage.epochs - first, "learning_rate": stage.learning_rate / 3}
        stages.append(content | last)
    return {"stages": stages}


def times_the_rates(factor: float) -> "Callable[[Member], dict[str, Any]]":
    def changes(member: Member) -> dict[str, Any]:
        stages = enumerate(member.settings.stages)
        rates = {number: stage.learning_rate for number, stage in stages if not stage.unfreeze.is_none}
        return {f"stages.{number}.learning_rate": factor * rate for number, rate in rates.items()}

    return changes


def twice_the_epochs(member: Member) -> dict[str, Any]:
    stages = enumerate(member.settings.stages)
    return {f"stages.{number}.epochs": 2 * stage.epochs for number, stage in stages if not stage.unfreeze.is_none}


def small_crops(scale: float) -> "Callable[[Member], dict[str, Any]]":
    crop = {"size": "image_size", "scale": [0.35, 1.0], "ratio": [0.9, 1.11], "p": 1.0}

    def changes(member: Member) -> dict[str, Any]:
        others = [each for each in member.settings.augmentation if "RandomResizedCrop" not in str(each)]
        return {"augmentation": [*others, {"RandomResizedCrop": crop}], "augmentation_scale": scale}

    return changes


ITSELF = "itself"
"""The labels that an ensemble of the member as it is, trained on all folds, gives."""


@dataclass(frozen=True)
class Technique:
    member: Mapping[str, Any] | None = None
    """Changed keys of the member."""
    stages: Mapping[str, Any] | None = None
    """Changed keys of each stage that trains the backbone."""
    augmentation: Sequence[Any] = ()
    """Transforms that are added to those of the member."""
    computed: Callable[[Member], Mapping[str, Any]] | None = None
    """Changed keys that depend on the member."""
    needs_labels: bool = False
    """Whether it uses the labels of ITSELF."""
    soup_rates: Sequence[float] = ()
    """The soup of the member as it is and of others with so many times its learning rates."""


TECHNIQUES = {
    "no augmentation": Technique({"augmentation": []}),
    "no test-time views": Technique({"tta": "none"}),
    "mixup": Technique(stages={"mixup": 0.2, "plain_epochs": 2}),
    "CutMix": Technique(stages={"cutmix": 1.0, "plain_epochs": 2}),
    "RandAugment": Technique(augmentation=[{"RandAugment": {"n": 2, "magnitude": 9}}]),
    "TrivialAugment": Technique(augmentation=["TrivialAugment"]),
    "random erasing": Technique(augmentation=[{"Erasing": {"scale": [0.02, 0.2], "p": 0.25}}]),
    "label smoothing": Technique({"label_smoothing": 0.1}),
    "focal loss": Technique({"loss": {"kind": "focal", "gamma": 2.0}}),
    "ArcFace": Technique({"loss": {"kind": "arcface", "margin": 0.3, "scale": 20.0}}),
    "ArcFace with 3 centres": Technique({"loss": {"kind": "arcface", "margin": 0.3, "scale": 20.0, "centres": 3}}),
    "class weights": Technique({"class_weights": "balanced"}),
    "balanced sampling": Technique({"sampling": "balanced"}),
    "multi-sample dropout": Technique({"head.dropout": 0.5, "head.dropout_samples": 5}),
    "decay on kernels only": Technique(
        stages={"optimizer": {"name": "AdamW", "weight_decay": 0.05, "decay_kernels_only": True}}
    ),
    "layer-wise rates": Technique(stages={"layer_decay": 0.8}),
    "moving averages": Technique(stages={"ema": 0.99}),
    "mean of the last 3 epochs": Technique(stages={"average": {"last": 3}}),
    "mean of the best 3 epochs": Technique(stages={"average": {"best": 3}}),
    "accumulated gradients": Technique(stages={"accumulate": 2}),
    "clipped gradients": Technique(stages={"clip_norm": 1.0}),
    "nearest neighbours": Technique({"neighbours": {"count": 20, "temperature": 0.1}}),
    "square-root sampling": Technique({"sampling": "sqrt"}),
    "stochastic depth": Technique({"backbone.stochastic_depth": 0.2}),
    "crops from 0.35": Technique(computed=small_crops(1.0)),
    "crops from 0.35 at twice the size": Technique(computed=small_crops(2.0)),
    "best of larger sizes": Technique(computed=larger_sizes),
    "mean of larger sizes": Technique(computed=mean_of_larger_sizes),
    "growing images": Technique(computed=growing),
    "twice the epochs": Technique(computed=twice_the_epochs),
    "half the rates": Technique(computed=times_the_rates(0.5)),
    "twice the rates": Technique(computed=times_the_rates(2.0)),
    "pseudo-labels": Technique({"extra": [{"pseudo": ITSELF, "weight": 0.5}]}, needs_labels=True),
    "distillation": Technique({"teacher": {"ensemble": ITSELF, "weight": 0.7, "temperature": 2}}, needs_labels=True),
    "hard examples": Technique({"hard": {"ensemble": ITSELF, "times": 2}}, needs_labels=True),
    "soup of three rates": Technique(soup_rates=(0.5, 1.5)),
}


@dataclass(frozen=True)
class Row:
    technique: str
    scores: list[float]
    """One for each seed, from 1; of the member as it is, for the technique ''."""
    minutes: list[float]
    """Of all cores together, for training and prediction: other work on the machine hardly changes them."""


def changes_of(technique: Technique, member: Member) -> dict[str, Any]:
    """As for --set."""
    changes = {**(technique.computed(member) if technique.computed else {}), **(technique.member or {})}
    if technique.augmentation:
        changes["augmentation"] = [*member.settings.augmentation, *technique.augmentation]
    for number, stage in enumerate(member.settings.stages):
        if not stage.unfreeze.is_none:
            changes |= {f"stages.{number}.{key}": value for key, value in (technique.stages or {}).items()}
    return changes


@dataclass(frozen=True)
class Subject:
    """What techniques are tried on."""

    file: Path
    changes: Mapping[str, Any]
    """Of the member file, for all runs."""
    data: Path | None
    work: Path
    """For ensembles and soups."""

    def member(self, seed: int | None = None, changes: Mapping[str, Any] | None = None) -> Member:
        return podium.load_member(self.file, {**self.changes, **(changes or {})}, seed)

    def has(self, technique: Technique) -> bool:
        """Whether it is a part of the member as it is."""
        member = self.member()
        return not technique.soup_rates and self.member(changes=changes_of(technique, member)) == member

    def train(self, member: Member, runs: Path) -> FoldRun:
        return podium.train(member, data=self.data, runs=runs)

    def label(self, base: Member, runs: Path) -> None:
        """Make the labels of ITSELF, unless they exist."""
        if not (labels_folder(runs, ITSELF) / "pseudo.json").is_file():  # written last
            ensemble = podium.make_ensemble(ITSELF, {"blend": "mean"}, [base])
            podium.run(ensemble, data=self.data, runs=runs)
            make_labels(ensemble, RunOptions(data=self.data, runs=runs), make_console())

    def soup_of(self, factors: Sequence[float], seed: int, runs: Path) -> list[str]:
        """The run folders of the member as it is, and of others with these multiples of its learning rates."""
        changes = [times_the_rates(factor)(self.member()) for factor in factors]
        members = [self.member(seed), *(self.member(seed, each) for each in changes)]
        return [self.train(member, runs).path.parent.name for member in members]


def measure(subject: Subject, name: str, seed: int) -> tuple[float, float]:
    """The score and the minutes of one run. Those of an ensemble that labels images are not counted."""
    technique, base = TECHNIQUES.get(name, Technique()), subject.member(seed)
    changes = changes_of(technique, base)
    member = subject.member(seed, changes)
    with tempfile.TemporaryDirectory() as temporary:
        runs = subject.work / str(seed) if technique.needs_labels or technique.soup_rates else Path(temporary)
        if technique.needs_labels:
            subject.label(base, runs)
        start = time.process_time()
        if technique.soup_rates:
            member = subject.member(seed, {"soup": subject.soup_of(technique.soup_rates, seed, runs)})
        score = podium.predict(subject.train(member, runs)).score
        minutes = (time.process_time() - start) / 60
    print(f"{name or 'as it is'}, seed {seed}: {score:.4f}, {minutes:.1f} min", flush=True)
    return score, minutes


def table(results: Mapping[str, Any]) -> str:
    """The Markdown of all members that were measured."""
    parts = []
    for member, content in results.items():
        rows = {row["technique"]: Row(**row) for row in content["rows"]}
        base = rows.pop("")
        lines = [
            f"`{member}`, {content['images']}: {content['metric']} {_mean_and_spread(base.scores)} as it is,"
            f" {statistics.mean(base.minutes):.1f} minutes of one core; differences in points, with their standard"
            " error.\n",
            "| technique | difference | seeds | minutes |",
            "|---|---:|---:|---:|",
        ]
        for row in sorted(rows.values(), key=lambda row: -_difference(row, base)[0]):
            difference, error = _difference(row, base)
            minutes = statistics.mean(row.minutes)
            spread = "" if math.isnan(error) else f" ± {error:.1f}"
            lines.append(f"| {row.technique} | {difference:+.1f}{spread} | {len(row.scores)} | {minutes:.1f} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _difference(row: Row, base: Row) -> tuple[float, float]:
    """In points of the metric, with its standard error, of the seeds that both have."""
    differences = [100 * (one - other) for one, other in zip(row.scores, base.scores, strict=False)]
    spread = statistics.stdev(differences) if len(differences) > 1 else math.nan
    return statistics.mean(differences), spread / math.sqrt(len(differences))


def _mean_and_spread(scores: Sequence[float]) -> str:
    spread = f" (standard deviation {statistics.stdev(scores):.4f})" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.4f}{spread}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.techniques", description="Measure training techniques.")
    parser.add_argument("--member", type=Path, default=ROOT / "configs" / "members" / "demo_wide.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the member")
    parser.add_argument("--data", type=Path, help="the folder of the competition's data")
    parser.add_argument("--only", action="append", choices=TECHNIQUES, metavar="NAME", help=", ".join(TECHNIQUES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "techniques.json")
    parser.add_argument("--work", type=Path, default=ROOT / "data" / "techniques", help="for ensembles and soups")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "recipes.md", help="the page with the table")
    options = parser.parse_args(arguments)
    given, problems = parse_overrides(options.set)
    raise_problems(problems)
    changes = {override.key: override.value for override in given}
    subject = Subject(
        options.member,
        changes,
        options.data,
        options.work / digest_of([str(options.member), str(options.data), changes]),
    )
    member = subject.member()
    title, competition = ", ".join([member.name, *options.set]), member.competition
    images = options.data.resolve().name if options.data else competition.title or competition.slug
    results = json.loads(options.out.read_text()) if options.out.is_file() else {}
    content = results.setdefault(title, {"rows": []})
    content |= {"metric": competition.metric, "images": images}
    rows = {row["technique"]: Row(**row) for row in content["rows"]}
    for name in ["", *(options.only or TECHNIQUES)]:
        row = rows.get(name, Row(name, [], []))
        try:
            if name and subject.has(TECHNIQUES[name]):
                print(f"{name}: left out, it is a part of the member", flush=True)
                continue
            for seed in range(len(row.scores) + 1, options.seeds + 1):
                score, minutes = measure(subject, name, seed)
                row.scores.append(score)
                row.minutes.append(minutes)
                rows[name] = row
                content["rows"] = [asdict(row) for row in rows.values()]
                write_json(options.out, results)
        except ConfigError as error:  # it does not fit this target or backbone
            print(f"{name}: left out, {str(error).splitlines()[0]}", flush=True)
        write_between(options.page, START, END, table(results))
    print(table(results))


if __name__ == "__main__":
    try:
        main()
    except podium.PodiumError as error:
        raise SystemExit(str(error)) from None
