"""A guess at what a competition asks for, from the files in its data folder."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.config.patterns import Pattern
from podium.config.target import SEPARATORS
from podium.data.guess_metadata import guess_metadata
from podium.data.inventory import Inventory, class_folders, locate
from podium.data.metadata import MISSING
from podium.data.table import check_filled, check_ids
from podium.errors import DataError, listed
from podium.evaluation.metrics import Metric, find_metric
from podium.files import check_separator, with_lines
from podium.paths import unpack_advice

DEFAULT_METRICS = {
    "single_label": "accuracy",
    "binary": "roc_auc",
    "multi_label": "macro_f1",
    "ordinal": "quadratic_kappa",
    "regression": "rmse",
    "soft_label": "log_loss",
}
_GROUPS = re.compile(
    "patient|subject|person|group|user|site|hotel|individual|session|case|study|scene|series|animal", re.I
)
_MOST_CLASSES_OF_NUMBERS = 50
"""Whole numbers with more distinct values than this are numbers, not classes."""


@dataclass
class Guess:
    """The keys of a competition file, with a reason for each that was assumed."""

    keys: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def set(self, key: str, value: Any, reason: str = "") -> None:
        self.keys[key] = value
        if reason:
            self.reasons[key] = reason

    @property
    def kind(self) -> str:
        """The kind of target."""
        target = self.keys["target"]
        return str(target if isinstance(target, str) else target["kind"])


@dataclass(frozen=True)
class Hints:
    """What the user or Kaggle says about the competition."""

    target: str | None = None
    metric: str | None = None
    label: str | None = None
    """The column of the answers."""
    sample: str | None = None
    """The sample submission."""


def guess_competition(inventory: Inventory, hints: Hints) -> Guess:
    if not inventory.images:
        raise DataError(f"no images in {inventory.folder}; expected photographs in folders or zips: unpack the data")
    guess = Guess()
    name = hints.sample or inventory.sample or _sample_by_its_ids(inventory)
    if name not in inventory.tables:
        _check_separators(inventory, inventory.tables)
        tables = (
            f"whose CSV files are {listed(sorted(inventory.tables))}" if inventory.tables else "which has no CSV files"
        )
        raise DataError(
            f"no {hints.sample or 'sample submission'} in {inventory.folder}, {tables};"
            f" {unpack_advice(inventory.folder)}name the one that shows how answers are submitted with --sample"
        )
    if not hints.sample and not inventory.sample:
        guess.reasons["submission"] = f"{name} is the table of the test images"
    inventory = replace(inventory, sample=name)
    sample = inventory.tables[name]
    id_column, test_pattern = _test_images(inventory, sample)
    found = _train_table(inventory, sample, id_column)
    if found is None:
        _classes_from_folders(guess, inventory, sample, id_column, test_pattern, hints)
    else:
        _columns_of_table(guess, inventory, found, sample, id_column, hints)
    test = {"images": test_pattern}
    if found:
        train = guess.keys["train"]
        used = [*train.values(), *sample.columns, *Pattern.of(train["images"]).fields, *guess.keys.get("classes", [])]
        if metadata := guess_metadata(inventory, found[0], set(sample[id_column]), used):
            test |= {"table": metadata.table} | ({} if metadata.id == id_column else {"id": metadata.id})
            guess.set(
                "metadata", metadata.columns, f"columns that {metadata.table} has too; the first member takes them"
            )
    guess.set("test", test)
    if inventory.zips:
        guess.set("zips", list(inventory.zips), "unpacked if their folders are missing")
    form = {"sample": inventory.sample, "id": id_column, **guess.keys.pop("submission", {})}
    guess.set("submission", form)
    return guess


def _sample_by_its_ids(inventory: Inventory) -> str | None:
    """The only table of test images, if there is one."""
    found = []
    for name, table in inventory.tables.items():
        located = locate(inventory, table, table.columns[0], "test") if len(table.columns) > 1 else None
        if located and located.share > 0.5 and "test" in located.pattern.lower() and "train" not in name.lower():
            found.append(name)
    return found[0] if len(found) == 1 else None


def _test_images(inventory: Inventory, sample: pd.DataFrame) -> tuple[str, str]:
    assert inventory.sample
    for column in sorted(sample.columns, key=lambda name: not sample[name].is_unique):
        located = locate(inventory, sample, column, "test") if _are_ids(sample[column]) else None
        if located and located.share > 0.5:
            check_ids(sample[column], inventory.folder / inventory.sample)
            return str(column), located.pattern
    _check_separators(inventory, [inventory.sample])
    raise DataError(
        f"no column of {inventory.sample} names images of {inventory.folder}: it has {', '.join(sample.columns)}, and"
        f" the images are like {inventory.images[0]}; unpack the test images, or write the competition file yourself"
    )


def _are_ids(values: "pd.Series[str]") -> bool:
    """Whether they seldom repeat; answers often do."""
    return bool(values.nunique() > len(values) / 2)


def _check_separators(inventory: Inventory, tables: Iterable[str]) -> None:
    for name in tables:
        check_separator(inventory.folder / name, list(inventory.tables[name].columns))


def _train_table(inventory: Inventory, sample: pd.DataFrame, id_column: str) -> tuple[str, str, str] | None:
    """The name of the table, its column of ids and the pattern of its images."""
    best = None
    for name, table in inventory.tables.items():
        if name == inventory.sample or len(table.columns) < 2 or table.empty:
            continue
        for column in table.columns:
            located = locate(inventory, table, column, "train")
            if located is None or located.share < 0.5:
                continue
            if set(table[column]) & set(sample[id_column]) and "train" not in name.lower():
                continue  # a table of test images
            rank = (column == id_column, "train" in name.lower(), located.share, len(table))
            if best is None or rank > best[0]:
                best = rank, (name, str(column), located.pattern)
    return best[1] if best else None


def _classes_from_folders(
    guess: Guess, inventory: Inventory, sample: pd.DataFrame, id_column: str, test_pattern: str, hints: Hints
) -> None:
    found = class_folders(inventory, test_pattern)
    if found is None:
        raise _no_training_images(inventory)
    above, classes, is_nested = found
    place = f"{above}/" if above else ""
    guess.set("train", {"images": f"{place}{{label}}/{'**/' * is_nested}{{id}}"}, "no table: a folder for each class")
    values = pd.Series(np.repeat(list(classes), list(classes.values())))
    answers = [column for column in sample.columns if column != id_column]
    if len(answers) == 1:
        _one_column(guess, values, sample[answers[0]], hints, may_be_regression=False)
        guess.keys["submission"] = {"label": answers[0], **guess.keys.get("submission", {})}
    else:
        _columns_of_classes(guess, values, answers, inventory, hints)
    _metric(guess, hints)
    _folds(guess, values, None)


def _no_training_images(inventory: Inventory) -> DataError:
    """What is wrong with the tables besides the sample, if there are any."""
    _check_separators(inventory, inventory.tables)
    others = [name for name in sorted(inventory.tables) if name != inventory.sample]
    if empty := [name for name in others if inventory.tables[name].empty]:
        return DataError(f"no rows in {inventory.folder / empty[0]}, only a header; download it again")
    if others:
        return DataError(
            f"{inventory.folder} lacks the images to train on: no column of {listed(others)} names its images, such as"
            f" {inventory.images[0]}; {unpack_advice(inventory.folder)}download them"
        )
    return DataError(
        f"{inventory.folder} has neither a table of training images nor a folder for each class; expected a CSV with a"
        f" column of ids besides {inventory.sample}, or folders of images: write the file by hand"
    )


def _columns_of_table(
    guess: Guess, inventory: Inventory, found: tuple[str, str, str], sample: pd.DataFrame, sample_id: str, hints: Hints
) -> None:
    name, id_column, pattern = found
    table = inventory.tables[name]
    answers = [column for column in sample.columns if column != sample_id]
    others = [column for column in table.columns if column != id_column]
    train: dict[str, Any] = {"table": name, "id": id_column}
    if hints.label and hints.label not in others:
        raise DataError(f"{name} has no column {hints.label} of answers: expected one of {listed(others)} as --label")
    if len(answers) > 1 and set(answers) <= set(others) and not hints.label:
        strata = _columns_of_numbers(guess, table[answers], hints)
        label = None
    else:
        label = _label_column(others, answers, table, name, hints)
        train["label"] = label
        if len(answers) == 1:
            _one_column(guess, table[label], sample[answers[0]], hints)
            guess.keys["submission"] = {"label": answers[0], **guess.keys.get("submission", {})}
        else:
            _columns_of_classes(guess, table[label], answers, inventory, hints)
        _check_labels(table[label], inventory.folder / name, guess.kind)
        strata = table[label]
        pattern = pattern.replace(f"{{{label}}}", "{label}")
    group = next(
        (column for column in others if column not in (label, *answers) and _is_group(column, table[column])), None
    )
    if group:
        train["group"] = group
    train["images"] = pattern
    guess.set("train", train)
    _metric(guess, hints)
    has_classes = guess.keys["target"] in ("single_label", "binary", "ordinal", "soft_label")
    _folds(guess, strata if has_classes else None, group, None if group is None else table[group].nunique())


def _check_labels(labels: "pd.Series[str]", table: Path, kind: str) -> None:
    """Fail if rows have no label, or labels differ only by spaces around them."""
    if kind == "multi_label":  # none of the labels, perhaps
        return
    is_missing = labels.str.strip().str.lower().isin(MISSING)
    are_numbers = _numbers(labels[~is_missing]) is not None
    check_filled(labels, f"a label in column {labels.name}", table, MISSING if are_numbers else ("",))
    distinct = labels.unique()
    if kind == "regression" or len({label.strip() for label in distinct}) == len(distinct):
        return
    padded = {int(np.argmax(labels == label)): repr(label) for label in distinct if label != label.strip()}
    raise DataError(
        f"{table} has labels in column {labels.name} that differ from others only by spaces around them, which would"
        f" be two classes: {with_lines(table, padded)}; remove the spaces"
    )


def _label_column(others: Sequence[str], answers: Sequence[str], table: pd.DataFrame, name: str, hints: Hints) -> str:
    if hints.label in others:
        return str(hints.label)
    if len(answers) == 1 and answers[0] in others:
        return answers[0]
    if len(others) == 1:
        return others[0]
    for column in others:
        if len(answers) > 1 and _matched(table[column], answers):
            return column
    usual = [column for column in others if re.search("label|class|categor|target|species|breed", column, re.I)]
    if len(usual) == 1:
        return usual[0]
    raise DataError(
        f"cannot tell which column of {name} has the answers: it has {', '.join(others)}, and the sample submission"
        f" {', '.join(answers)}; give the column with --label"
    )


def _one_column(
    guess: Guess, values: "pd.Series[str]", examples: "pd.Series[str]", hints: Hints, *, may_be_regression: bool = True
) -> None:
    """The target of one column in the sample."""
    distinct = sorted(values.unique())
    numbers, example_numbers = _numbers(values), _numbers(examples)
    is_whole = numbers is not None and bool((numbers == np.round(numbers)).all())
    examples_are_whole = example_numbers is not None and bool((example_numbers == np.round(example_numbers)).all())
    separator = _separator(values)
    if hints.target:
        target, reason = hints.target, "as given"
    elif numbers is not None and set(numbers) == {0.0, 1.0}:
        target, reason = "binary", "its values are 0 and 1"
    elif len(distinct) == 2:
        target, reason = "binary", "two classes, the second is the positive one"
    elif numbers is None and separator:
        target, reason = "multi_label", f"several labels in one value, separated by a {separator}"
    elif numbers is None or not may_be_regression:
        target, reason = "single_label", f"{len(distinct)} classes"
    elif is_whole and hints.metric == "quadratic_kappa":
        target, reason = "ordinal", "whole numbers, and kappa counts how far a prediction is off"
    elif (metric := _metric_of(hints)) and set(metric.targets) == {"regression"}:
        target, reason = "regression", f"the metric is {hints.metric}"
    elif is_whole and examples_are_whole and len(distinct) <= _MOST_CLASSES_OF_NUMBERS:
        target, reason = "single_label", f"{len(distinct)} whole numbers; if their order matters, use ordinal"
    else:
        target, reason = "regression", "its values are numbers"
    separator = separator or "space"
    _set_target(guess, target, reason, separator)
    if target == "multi_label":
        guess.set("classes", sorted({label for value in distinct for label in _split(value, separator)}))
    elif target != "regression":
        guess.set("classes", sorted(distinct, key=float) if numbers is not None else distinct)
        if target == "binary" and not (_takes_answers(hints) and set(examples) <= set(distinct)):
            guess.keys["submission"] = {"format": "probabilities"}
            guess.reasons["submission"] = "the probability of the positive class; for classes use format: label"
        else:
            guess.keys["submission"] = {"format": "label"}


def _metric_of(hints: Hints) -> Metric | None:
    """The given metric, unless it is the competition's own."""
    return find_metric(hints.metric) if hints.metric else None


def _takes_answers(hints: Hints) -> bool:
    metric = _metric_of(hints)
    return metric is not None and metric.takes_answers


def _set_target(guess: Guess, target: str, reason: str, separator: str | None = None) -> None:
    value: Any = target
    if target == "multi_label" and separator:
        value = {"kind": target, "separator": separator}
    guess.set("target", value, reason)


def _separator(values: "pd.Series[str]") -> str | None:
    """The separator of several labels in one value: labels that also stand alone, or that repeat in many values."""
    distinct = set(values)
    for separator in SEPARATORS:
        if all(len(_split(value, separator)) <= 1 for value in distinct):
            continue
        labels = {label for value in distinct for label in _split(value, separator)}
        if len(labels & distinct) >= len(labels) / 2 or len(labels) <= len(distinct) / 2:
            return separator
    return None


def _split(value: str, separator: str) -> list[str]:
    return [label.strip() for label in value.split(SEPARATORS[separator]) if label.strip()]


def _columns_of_numbers(guess: Guess, answers: pd.DataFrame, hints: Hints) -> "pd.Series[Any] | None":
    """The target of a column for each class or number; returns classes to stratify by."""
    table = pd.DataFrame({column: pd.to_numeric(answers[column], errors="coerce") for column in answers})
    if table.isna().any().any():
        wrong = table.columns[table.isna().any()][0]
        row = int(np.argmax(table[wrong].isna()))
        raise DataError(
            f"the column {wrong} has values that are not numbers, such as {answers[wrong].iloc[row]!r} in line"
            f" {row + 2}; expected numbers in every answer column"
        )
    values = table.to_numpy(dtype=float)
    is_binary, totals = set(np.unique(values)) <= {0.0, 1.0}, values.sum(axis=1)
    if hints.target:
        target, reason = hints.target, "as given"
    elif is_binary and (totals == 1).all():
        target, reason = "soft_label", "one column per class, exactly one is 1 in each row"
    elif is_binary:
        target, reason = "multi_label", "columns of 0 and 1"
    elif (values >= 0).all() and np.allclose(totals, totals[0], rtol=0.01):
        target, reason = "soft_label", "the shares of the classes"
    else:
        target, reason = "regression", "columns of numbers"
    if target == "regression":
        guess.set("target", {"kind": target, "columns": list(answers.columns)}, reason)
        return None
    _set_target(guess, target, reason)
    guess.set("classes", list(answers.columns))
    return pd.Series(values.argmax(axis=1), dtype=int)


def _columns_of_classes(
    guess: Guess, values: "pd.Series[str]", answers: Sequence[str], inventory: Inventory, hints: Hints
) -> None:
    """One label per image, and a probability column per class."""
    columns = _matched(values, answers)
    if columns is None:
        raise DataError(
            f"the answer columns of {inventory.sample} ({listed(answers)}) are not the labels of the training images"
            f" ({listed(sorted(values.unique()))}); write the competition file yourself"
        )
    target = hints.target or "single_label"
    if target not in ("single_label", "ordinal"):
        raise DataError(
            f"{inventory.sample} has a probability for each of {len(columns)} classes, which fits single_label or"
            f" ordinal, not {target}"
        )
    guess.set("target", target, f"{len(columns)} classes, a probability for each")
    guess.set("classes", list(columns))
    renamed = {label: column for label, column in columns.items() if label != column}
    guess.keys["submission"] = {"format": "probabilities", **({"columns": renamed} if renamed else {})}


def _matched(values: "pd.Series[str]", answers: Sequence[str]) -> Mapping[str, str] | None:
    """The answer column of each label: named like it, or with a common prefix."""
    labels = sorted({label.strip() for label in values.unique()} - {""})
    if len(labels) != len(answers):
        return None
    if set(labels) == set(answers):
        return {label: label for label in answers}
    columns = {
        label: [answer for answer in answers if re.fullmatch(rf"\D*[_ ]?{re.escape(label)}", answer)]
        for label in labels
    }
    if all(len(found) == 1 for found in columns.values()):
        return {label: found[0] for label, found in columns.items()}
    return None


def _metric(guess: Guess, hints: Hints) -> None:
    target, kind = guess.keys["target"], guess.kind
    if hints.metric:
        guess.set("metric", hints.metric)
        return
    name = DEFAULT_METRICS[kind]
    if kind == "multi_label" and isinstance(target, str):
        name = "roc_auc"  # a probability for each class
    if kind == "single_label" and guess.keys.get("submission", {}).get("format") == "probabilities":
        name = "log_loss"
    if kind == "binary" and guess.keys.get("submission", {}).get("format") == "label":
        name = "accuracy"
    guess.set("metric", name, f"the usual one for {kind}: see the competition's page for the real one")


def _is_group(name: str, values: "pd.Series[str]") -> bool:
    count = values.nunique()
    return bool(_GROUPS.search(name)) and 5 <= count < len(values) / 1.2


def _folds(guess: Guess, values: "pd.Series[Any] | None", group: str | None, groups: int | None = None) -> None:
    smallest = 5
    if values is not None and values.nunique() <= _MOST_CLASSES_OF_NUMBERS:
        smallest = int(values.value_counts().min())
    count = min(5, groups or 5, max(2, smallest))
    if group:
        guess.set(
            "folds", {"kind": "grouped", "count": count}, f"{group} looks like a group: its images stay in one fold"
        )
    else:
        reason = f"the smallest class has {smallest} image{'s' * (smallest > 1)}" if count < 5 else ""
        guess.set("folds", {"kind": "stratified", "count": count}, reason)


def _numbers(values: "pd.Series[str]") -> NDArray[np.float64] | None:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    return numbers if len(numbers) and np.isfinite(numbers).all() else None
