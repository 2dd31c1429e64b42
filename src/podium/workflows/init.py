"""Start a competition: look at its data, and write a competition, a member and an ensemble file for it."""

import re
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.kaggle_names import SLUG, slug_of
from podium.config.problems import nearest
from podium.credentials import describe_credentials
from podium.errors import ConfigError, DataError, KaggleError, shortened
from podium.evaluation.metrics import METRICS, find_metric
from podium.files import write_text
from podium.workflows.config_check import check_data
from podium.workflows.configs import load_ensemble

if TYPE_CHECKING:
    from podium.data.guess import Guess

_SIZES = (64, 96, 128, 160, 192, 224)
"""Image sizes of the first member; larger ones are slow on a laptop."""
_IMAGES_MEASURED = 50
_LONGEST_SLUG = 100
_WORDS_OF_METRICS = (
    (r"f.?score beta [^1]|f.?beta", None),
    ("mcrmse|column.?wise root", "columnwise_rmse"),
    ("column.?wise log", "columnwise_log_loss"),
    ("quadratic", "quadratic_kappa"),
    ("roc|auc|area under", "roc_auc"),
    ("rmsle|squared logarithmic", "rmsle"),
    ("rmse|root mean squared", "rmse"),
    ("mae|mean absolute", "mae"),
    ("log.?loss|multi.?class.?loss|logarithmic loss|cross.?entropy", "log_loss"),
    ("balanced accuracy", "balanced_accuracy"),
    ("accuracy|categorization", "accuracy"),
    ("matthews|mcc", "matthews"),
    ("macro", "macro_f1"),
    ("mean ?f|sample", "samples_f1"),
)
"""podium's metric for a name at Kaggle, the first that fits; None for one that podium lacks. Kaggle's names are free
text."""
_MANY_CLASSES = 40
"""More classes than this are left out of the competition file, and read from the data."""


@dataclass(frozen=True)
class Started:
    competition: Path
    member: Path
    ensemble: Path
    assumptions: Sequence[str]
    problems: Sequence[str]
    """What is wrong with the data, or does not fit the target that was asked for; not checked in zips."""
    next: str
    """The command to try."""


def init(
    data: Path,
    configs: Path,
    console: Console,
    *,
    slug: str | None = None,
    target: str | None = None,
    metric: str | None = None,
    label: str | None = None,
    sample: str | None = None,
    recipe: str | None = None,
    replace_files: bool = False,
    metric_of_page: str | None = None,
) -> Started:
    """Write the three files below `configs` for the data in this folder. Nothing is written if a file exists already.

    Args:
        data: The unpacked data of the competition, or its zips.
        configs: The folder of configs; missing folders are created.
        console: Where to print.
        slug: The last part of the competition's URL; by default the name of the data folder.
        target: The kind of target, instead of a guess.
        metric: The competition's metric, instead of the usual one for its target.
        label: The column of the answers, if the table has several.
        sample: The file name of the sample submission.
        recipe: The name of a member file in the folder `recipes` of `configs` to start from.
        replace_files: Replace existing files.
        metric_of_page: The metric that the competition's page names, for a target that it scores.
    """
    from podium.data.guess import Hints, guess_competition
    from podium.data.inventory import read_inventory

    slug = _checked(slug) if slug else _slug_of(data)
    _check_names(target, metric, configs / "competitions")
    recipe_file = _recipe_file(recipe, configs / "recipes") if recipe else None
    paths = [
        configs / "competitions" / f"{slug}.yaml",
        configs / "members" / f"{slug}_{recipe or 'first'}.yaml",
        configs / "ensembles" / f"{slug}.yaml",
    ]
    if existing := [str(path) for path in paths if path.exists() and not replace_files]:
        raise ConfigError(f"{', '.join(existing)} exist already; edit them, or replace them with --replace")
    if not data.is_dir():
        raise DataError(f"{data} is not a folder; expected the folder with the competition's data")
    with console.status(f"looking at {data}"):
        inventory = read_inventory(data)
        guess = guess_competition(inventory, Hints(target, metric or metric_of_page, label, sample))
        if metric is None and metric_of_page:
            if guess.kind in METRICS[metric_of_page].targets:
                guess.reasons["metric"] = "by the name on the competition's page"
            else:
                guess = guess_competition(inventory, Hints(target, None, label, sample))
        side = _median_side([data / image for image in inventory.images])
    at = [] if data == Path("data") / slug else ["--data", str(data)]
    train = shlex.join(["podium", "train", str(paths[1]), *at, "--fold", "0"])
    run = shlex.join(["podium", "run", str(paths[2]), *at])
    if recipe_file:
        member = _text_of_recipe(recipe_file, slug, guess, side, train)
    else:
        member = _member_text(slug, guess, max((size for size in _SIZES if size <= side), default=_SIZES[0]), train)
    texts = [
        _competition_text(slug, data, guess, f"{run} --dry-run"),
        member,
        _ensemble_text(paths[1], run),
    ]
    before = {path: path.read_text(encoding="utf-8") for path in paths if path.is_file()}
    for path, text in zip(paths, texts, strict=True):
        schema = path.parent.parent / "schemas" / f"{path.parent.name[:-1]}.json"
        first = f"# yaml-language-server: $schema=../schemas/{schema.name}\n" if schema.is_file() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, first + text)
    try:
        competition = load_ensemble(paths[2]).competition
    except ConfigError as error:
        for path in paths:
            write_text(path, before[path]) if path in before else path.unlink()
        raise DataError(
            f"{data} does not look like a competition that podium knows, so no file was written:"
            f" {str(error).splitlines()[-1].split('  ')[-1]}; unpack all of its data, name the column of the answers"
            " with --label, or write the files as docs/configuration.md describes"
        ) from error
    problems = [] if inventory.zips else check_data(competition, data)[1]
    assumptions = [_assumption(guess, key) for key in guess.reasons]
    return Started(paths[0], paths[1], paths[2], assumptions, problems, f"{run} --dry-run")


def _assumption(guess: "Guess", key: str) -> str:
    """What was assumed, with the value of keys that have a short one."""
    value, reason = guess.keys[key], guess.reasons[key]
    value = value.get("kind") if isinstance(value, dict) else value
    return f"{key}: {value} ({reason})" if isinstance(value, str) else f"{key}: {reason}"


def _checked(slug: str) -> str:
    if not SLUG.fullmatch(slug) or len(slug) > _LONGEST_SLUG:
        raise ConfigError(
            f"--slug: {shortened(slug)!r} is not the last part of a competition's URL; expected lower-case letters,"
            f" digits and hyphens, {_LONGEST_SLUG} at most, such as digit-recognizer"
        )
    return slug


def _slug_of(data: Path) -> str:
    name = slug_of(data.resolve().name)
    if not SLUG.fullmatch(name) or len(name) > _LONGEST_SLUG:
        raise ConfigError(
            f"{data.name!r} does not make a competition's name; give one with --slug, such as digit-recognizer"
        )
    return name


def _median_side(images: Sequence[Path]) -> float:
    """The median of the shorter sides of some images; the largest usual size if they cannot be read."""
    from PIL import Image

    sides = []
    for path in images[:: max(1, len(images) // _IMAGES_MEASURED)]:
        try:
            with Image.open(path) as image:
                sides.append(min(image.size))
        except (OSError, Image.DecompressionBombError):  # in a zip, of a format that Pillow does not read, or huge
            continue
    return statistics.median(sides) if sides else _SIZES[-1]


def _recipe_file(name: str, folder: Path) -> Path:
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        advice = nearest(name, known) or ", which has none; copy the recipes of podium's repository there"
        raise ConfigError(f"{name!r} is not a recipe in {folder}{advice}")
    return folder / f"{name}.yaml"


def _text_of_recipe(file: Path, slug: str, guess: "Guess", side: float, command: str) -> str:
    """The recipe for this competition: no images larger than the data's, and only keys that fit the target."""
    from podium.config.loss import LOSSES, SMOOTHED
    from podium.config.yaml_file import read_yaml, text_with_values

    content = read_yaml(file).content
    largest = max(stage["image_size"] for stage in content["stages"])

    def scaled(size: int) -> int:
        return size if largest <= side else max(_SIZES[0], round(size * side / largest / 32) * 32)

    values: dict[str, Any] = {"competition": f"../competitions/{slug}.yaml"}
    for number, stage in enumerate(content["stages"]):
        values[f"stages.{number}.image_size"] = scaled(stage["image_size"])
    if isinstance(tta := content.get("tta"), dict) and "image_sizes" in tta:
        values["tta.image_sizes"] = sizes = list(dict.fromkeys(map(scaled, tta["image_sizes"])))
        if tta.get("average_sizes"):
            values["tta.average_sizes"] = len(sizes) > 1
    if "metadata" in guess.keys:
        values["metadata"] = "all"
    text = text_with_values(file, values)
    text = re.sub(r"\A# yaml-language-server.*\n", "", text)
    text = re.sub(r"^# Use:.*$", f"# Run:   {command}", text, flags=re.MULTILINE)
    if LOSSES[guess.kind][0] not in SMOOTHED or guess.kind == "regression":
        text = re.sub(r"^label_smoothing:.*\n", "", text, flags=re.MULTILINE)
    return text


def _competition_text(slug: str, data: Path, guess: "Guess", command: str) -> str:
    keys = dict(guess.keys)
    classes = keys.get("classes", [])
    if len(classes) > _MANY_CLASSES and guess.kind == "single_label":
        del keys["classes"]
    order = ["train", "test", "zips", "target", "classes", "metadata", "metric", "submission", "folds"]
    lines = [
        f"# {slug}: written by podium init from what is in {data}. Check what it assumed, then try:",
        f"#   {command}",
        f"slug: {slug}",
    ]
    for key in order:
        if key in keys:
            if reason := guess.reasons.get(key):
                lines.append(f"# {reason}")
            lines.append(_yaml(key, keys[key]))
    return "\n".join(lines) + "\n"


def _yaml(key: str, value: Any) -> str:
    from podium.config.yaml_file import to_yaml

    if key == "classes":
        value = [int(label) if re.fullmatch(r"0|[1-9]\d*", label) else label for label in value]
    return to_yaml({"x": [], key: value}).partition("\n")[2].rstrip("\n")  # with a list, each key has a line of its own


def _member_text(slug: str, guess: "Guess", size: int, command: str) -> str:
    metadata = "metadata: all  # columns of the tables, as a second input\n" if "metadata" in guess.keys else ""
    flip = "  - HorizontalFlip  # remove it if left and right differ in meaning\n"
    return f"""\
# A first member: EfficientNetB0 with ImageNet weights, first its head, then all layers.
# Run: {command}
competition: ../competitions/{slug}.yaml
backbone: {{name: EfficientNetB0, weights: imagenet}}
head: {{pooling: avg, dropout: 0.3}}
{metadata}augmentation:
{flip}  - RandomResizedCrop: {{size: image_size, scale: [0.6, 1.0], ratio: [0.9, 1.11], p: 0.7}}
  - RandomBrightnessContrast: {{brightness_limit: 0.2, contrast_limit: 0.2, p: 0.5}}
stages:
  - {{name: head, unfreeze: none, epochs: 5, batch_size: 32, image_size: {size}, learning_rate: 1e-3}}
  - {{name: all, unfreeze: all, epochs: 10, batch_size: 32, image_size: {size}, learning_rate: 3e-4,
     optimizer: {{name: AdamW, weight_decay: 0.02}}, schedule: {{kind: cosine, warmup_epochs: 0.5, final: 0.02}}}}
tta: [identity, horizontal_flip]
"""


def _ensemble_text(member: Path, command: str) -> str:
    return f"""\
# One member so far: add others, whose mistakes differ, to raise the score.
# Run: {command}
members:
  - ../members/{member.name}
blend: mean
"""


def metric_at_kaggle(slug: str, console: Console) -> str | None:
    """podium's name of the metric that the competition's page names, if there is a key for Kaggle and it is known."""
    from podium.kaggle.client import sign_in

    if describe_credentials() is None:
        return None
    try:
        name = sign_in().metric_name(slug)
    except KaggleError as error:
        console.print(f"the metric is not read from the competition's page: {error}", highlight=False)
        return None
    return next((metric for words, metric in _WORDS_OF_METRICS if re.search(words, name, re.IGNORECASE)), None)


def _check_names(target: str | None, metric: str | None, folder: Path) -> None:
    from podium.data.guess import DEFAULT_METRICS

    if target is not None and target not in DEFAULT_METRICS:
        raise ConfigError(f"{target!r} is not a kind of target{nearest(target, list(DEFAULT_METRICS))}")
    if metric is None or find_metric(metric):
        return
    own, _, function = metric.partition(":")
    if not function:
        raise ConfigError(f"{metric!r} is not a metric{nearest(metric, list(METRICS))}")
    if not (folder / own).is_file():
        raise ConfigError(f"{folder / own} does not exist; put the metric's file beside the competition file")
