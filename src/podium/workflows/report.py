"""`podium report` and `podium mistakes`: what a run, a member or an ensemble learned, and where it is wrong."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from podium.config.resolved import resolved_member
from podium.config.yaml_file import flow_text
from podium.data.answers import are_right, confidence, has_answers
from podium.files import write_text
from podium.options import RunOptions
from podium.predictions import Predictions, align
from podium.progress import format_seconds
from podium.reports.charts import (
    Chart,
    bars,
    calibration,
    confusion,
    correlations,
    learning_curves,
    residuals,
    roc_and_precision_recall,
)
from podium.reports.mistakes import losses
from podium.reports.page import thumbnail
from podium.reports.report_page import Mistake, Report, Section, Table, versions_table, write_report
from podium.reports.sheet import draw_sheet
from podium.runs import Run, read_predictions_facts, read_run_table
from podium.workflows.detector_report import find_detector_run, write_detector_page
from podium.workflows.explain import Explained, explain_mistakes
from podium.workflows.subject import Images, Subject, find_folder, image_paths, subject_at

MOST_MISTAKES, MOST_DRAWN = 300, 48
"""Mistakes on the page, and on the sheet."""
_MOST_ROWS, _MOST_COLUMNS = 30, 12
"""Label errors on the page, and columns of numbers with a chart."""


def report(
    place: "str | Path | os.PathLike[str] | None" = None,
    *,
    data: str | Path | None = None,
    runs: str | Path = "runs",
    out: str | Path | None = None,
    explain: bool = False,
) -> Path:
    """Write the page of a run, a member, an ensemble or a detector.

    Args:
        place: What `podium.train`, `predict`, `blend` or `run` returned, a folder in `runs`, or a config file. By
            default the newest run.
        data: The folder of the competition's data. By default PODIUM_DATA, else `data/<slug>`.
        runs: The folder with all runs.
        out: The page. By default report.html in the folder of the run, the member or the blend.
        explain: Also load the models, and show where they look.

    Returns:
        The path of the page.
    """
    options = RunOptions(data=None if data is None else Path(data), runs=Path(runs))
    return write_page(
        None if place is None else Path(place), options, None if out is None else Path(out), explain=explain
    )


def write_page(place: Path | None, options: RunOptions, out: Path | None = None, *, explain: bool = False) -> Path:
    """The same with the options of the command line."""
    folder = find_folder(place, options)
    detector = find_detector_run(folder)
    if detector:
        return write_detector_page(detector, options, out)
    return write_report_page(subject_at(folder), options, out, explain=explain)


# The page


def write_report_page(
    subject: Subject, options: RunOptions, out: Path | None = None, *, with_images: bool = True, explain: bool = False
) -> Path:
    """Write the page of a subject, report.html in its folder by default, and return its path.

    With `explain`, the models show where they look, and a map of the images by their features.
    """
    path = out or subject.path / "report.html"
    images = image_paths(subject.competition, options) if with_images else None
    explained = explain_mistakes(subject, images) if explain and images else Explained()
    sections = [section for make in _SECTIONS if (section := make(subject)) is not None]
    notes = [] if images or not with_images else ["The competition's data was not found here, so there are no images."]
    report = Report(
        title=f"{subject.name}: {subject.competition.title or subject.competition.slug}",
        headline=_headline(subject),
        sections=sections,
        versions=versions_table([run for part in subject.parts for run in part.runs]),
        notes=notes,
        mistakes=_shown_mistakes(subject, images, explained),
        mistakes_summary=_describe_mistakes(subject),
        map=explained.map,
    )
    write_report(report, path)
    return path


def _headline(subject: Subject) -> str:
    metric = subject.competition.metric
    if subject.blend:
        error = subject.blend.get("standard_error")
        spread = f" ± {error:.4f}" if error else ""
        return (
            f"A blend of {len(subject.parts)} members: {metric} {subject.blend['score']:.4f}{spread}, estimated by"
            " nested cross-validation."
        )
    part = subject.parts[0]
    if part.oof is None:
        best = part.runs[0].state.get("best")
        so_far = (
            f"; best {best['monitor']} {best['score']:.4f}, stage {best['stage']}, epoch {best['epoch'] + 1}"
            if best
            else ""
        )
        return f"{len(part.runs)} fold{'s' * (len(part.runs) > 1)}, not predicted yet{so_far}."
    score, error = _score_and_error(subject, part.oof)
    folds = len(part.predictions)
    return (
        f"Out-of-fold {metric} {score:.4f} ± {error:.4f} (standard error) on {len(part.oof.ids):,} images,"
        f" {folds} fold{'s' * (folds > 1)}, with test-time augmentation."
    )


def _score_and_error(subject: Subject, oof: Predictions) -> tuple[float, float]:
    from podium.evaluation.statistics import bootstrap_error

    truth = subject.target.truth(oof.known_truth)
    return subject.metric(truth, oof.values), bootstrap_error(subject.metric, truth, oof.values)


def _scores(subject: Subject) -> Section | None:
    rows = []
    for part in subject.parts:
        for run, folder in zip(part.runs, part.predictions, strict=False):
            facts = read_predictions_facts(folder)
            scores = [f"{facts[key]:.4f}" for key in ("score", "score_of_first_view")]
            rows.append([part.name, run.path.name, *scores, _duration(run.state.get("seconds"))])
        if part.oof is not None and len(part.predictions) > 1:
            score, error = _score_and_error(subject, part.oof)
            rows.append([part.name, "all folds", f"{score:.4f} ± {error:.4f}", "", ""])
    if not rows:
        return None
    metric = subject.competition.metric
    columns = ["member", "fold", metric, "without further views", "training"]
    return Section("scores", "Scores", table=Table(columns, rows, frozenset(columns[2:])))


def _settings(subject: Subject) -> Section:
    """What differs from the defaults, as in the member files."""
    rows = []
    for part in subject.parts:
        settings = resolved_member(part.runs[0]).settings.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        stages = {f"stage {stage.pop('name')}": stage for stage in settings.pop("stages")}
        rows += [
            [part.name, key, flow_text(value)[1:-1] if isinstance(value, dict) else flow_text(value)]
            for key, value in {**settings, **stages}.items()
        ]
    return Section("settings", "Settings", ["What differs from the defaults."], Table(["member", "key", "value"], rows))


def _duration(seconds: float | None) -> str:
    return format_seconds(seconds) if seconds else ""


def _histories(subject: Subject) -> Iterator[tuple[str, Run, pd.DataFrame]]:
    for part in subject.parts:
        for run in part.runs:
            if run.history.is_file() and len(history := run.read_history()):
                yield f"{part.name}, {run.path.name}", run, history


def _training(subject: Subject) -> Section | None:
    metric = subject.competition.metric
    curves = [
        learning_curves(history, metric, f"Learning curves of {name}") for name, _, history in _histories(subject)
    ]
    if not curves:
        return None
    text = "A dotted line begins a stage; a triangle marks a change made during training, a circle an epoch in which it"
    text += " was resumed."
    shown = 1 if len(curves) > 3 else len(curves)
    return Section(
        "training", "Training", [text], charts=curves[:shown],
        more_title=f"{len(curves) - shown} more folds", more=curves[shown:],
    )  # fmt: skip


def _stages(subject: Subject) -> Section | None:
    rows = []
    for name, run, history in _histories(subject):
        timings, metric = run.timings, subject.metric
        monitor = next(name for name in (f"val_{metric.name}", "val_loss", "loss") if name in history)
        is_higher_better, before = metric.higher_is_better and monitor not in ("val_loss", "loss"), None
        for stage, epochs in ((str(stage), epochs) for stage, epochs in history.groupby("stage", sort=False)):
            values = epochs[monitor]
            best = values.max() if is_higher_better else values.min()
            change = "" if before is None else f"{best - before:+.4f}"
            seconds, waited = timings.get(f"stage {stage}"), timings.get(f"input of stage {stage}")
            share = f"{waited / seconds:.0%}" if seconds and waited is not None else ""
            rows.append([name, stage, str(len(epochs)), monitor, f"{best:.4f}", change, _duration(seconds), share])
            before = best
    if not rows:
        return None
    columns = ["run", "stage", "epochs", "figure", "best", "change", "time", "waiting for input"]
    return Section("stages", "Stages", ["The best validation figure of each stage, without test-time augmentation."],
                   Table(columns, rows, frozenset({*columns[2:]} - {"figure"})))  # fmt: skip


def _classes(subject: Subject) -> Section | None:
    """The confusion matrix, and precision, recall and F1 of each class."""
    target, oof = subject.target, subject.oof
    if oof is None or not has_answers(target):
        return None
    truth = target.truth(oof.known_truth)
    reports = target.reports(truth, oof.values)
    report = reports["classification_report.csv"]
    names = subject.competition.classes
    rows = [
        [names.get(str(row[0]), str(row[0])), *(f"{value:.3f}" for value in row[1:-1]), f"{row[-1]:,.0f}"]
        for row in report.itertuples(index=False)
    ]
    columns = [*map(str, report.columns[:-1]), "images"]
    charts = []
    if "confusion_matrix.csv" in reports:
        matrix = reports["confusion_matrix.csv"]
        labels = [names.get(str(label), str(label)) for label in matrix["true class"]]
        charts = [confusion(matrix.drop(columns="true class").to_numpy(), labels)]
    text = "In the confusion matrix, numbers are images, and shades shares of the true class."
    table = Table(columns, rows, frozenset(columns[1:]))
    return Section("classes", "Classes", [text] if charts else [], table, charts)


def _probabilities(subject: Subject) -> Section | None:
    """ROC, precision-recall and calibration."""
    target, oof = subject.target, subject.oof
    if oof is None or not has_answers(target):
        return None
    truth = target.truth(oof.known_truth)
    encoded = np.asarray(target.encode(truth)[np.arange(len(truth))])
    names = [subject.competition.classes.get(name, name) for name in oof.outputs]
    charts = [
        roc_and_precision_recall(encoded, oof.values, names),
        calibration(confidence(oof.values, target), are_right(oof.values, truth, target)),
    ]
    return Section("probabilities", "Probabilities", charts=charts)


def _numbers(subject: Subject) -> Section | None:
    target, oof = subject.target, subject.oof
    if oof is None or has_answers(target):
        return None
    truth = target.truth(oof.known_truth)
    charts = [residuals(truth[:, column], oof.values[:, column], name) for column, name in enumerate(oof.outputs)]
    return Section("numbers", "Predictions", charts=charts[:_MOST_COLUMNS])


def _views(subject: Subject) -> Section | None:
    """The gain of each test-time view, in the mean of all folds."""
    charts = []
    for part in subject.parts:
        tables = [_read_views(folder / "views.csv") for folder in part.predictions if (folder / "views.csv").is_file()]
        tables = [table for table in tables if len(table) > 1]
        if tables:
            joined = pd.concat(tables).groupby("view", sort=False)
            gains, errors = joined["gain"].mean(), joined["standard_error"].apply(
                lambda values: float(np.sqrt((values**2).sum()) / len(values))
            )  # fmt: skip
            values = [(str(view), float(gains[view]), float(errors[view])) for view in gains.index[1:]]
            if len(values) == 2 and len(tables[0]) == 3:
                values = values[:1]  # the second is all views, which are the same two
            charts.append(
                bars(values, f"Gain of test-time views of {part.name}", f"gain in {subject.competition.metric}")
            )
    text = (
        "The gain of each view together with the first one, and of all views, on all rows, at the image size that is"
        " used. If size or views are chosen, the score on top of this page is lower: it is computed with those"
        " that were chosen on the other half of the rows."
    )
    return Section("views", "Test-time views", [text], charts=charts) if charts else None


def _read_views(path: Path) -> pd.DataFrame:
    return pd.DataFrame(read_run_table(path, ["view", "gain", "standard_error"], texts=["view", "kept"]))


def _members(subject: Subject) -> Section | None:
    if not subject.blend or len(subject.parts) < 2:
        return None
    useless = subject.blend["blend"].get("adds_nothing")
    notes = [f"The blend scores as well without any one of these members: {', '.join(useless)}."] if useless else []
    return Section("members", "Members", notes, charts=blend_charts(subject))


def blend_charts(subject: Subject) -> list[Chart]:
    """Weights of a blend's members, and how much their errors have in common."""
    facts, charts = subject.blend["blend"], []
    if weights := facts.get("weights"):
        errors = facts.get("weight_errors") or {}
        values = [(name, weight, errors.get(name, 0.0)) for name, weight in weights.items()]
        charts.append(bars(values, "Weights of the members", "weight"))
    known = {part.name: part.oof for part in subject.parts if part.oof is not None}
    shared = sorted(set.intersection(*(set(oof.ids) for oof in known.values())))
    if len(known) > 1 and len(shared) > 1:
        aligned = [align(oof, shared) for oof in known.values()]
        rows = [losses(subject.target, subject.target.truth(oof.known_truth), oof.values) for oof in aligned]
        charts.append(correlations(np.nan_to_num(np.corrcoef(np.log1p(np.array(rows)))), list(known)))
    return charts


def _label_errors(subject: Subject) -> Section | None:
    from podium.workflows.label_errors import suspicious_labels

    if subject.oof is None or not has_answers(subject.target):
        return None
    found = suspicious_labels(subject.oof, subject.target)
    if not len(found):
        return None
    names = subject.competition.classes
    first = f" The first {_MOST_ROWS}:" if len(found) > _MOST_ROWS else ""
    rows = [
        [
            str(row.id),
            names.get(str(row.label), str(row.label)),
            names.get(str(row.suggested), str(row.suggested)),
            f"{row.margin:.3f}",
        ]
        for row in found.iloc[:_MOST_ROWS].itertuples()
    ]
    text = (
        f"{len(found):,} labels may be wrong: the model is surer of another class than it usually is where that class"
        f" is right. Many are hard images with right labels; podium data errors shows them.{first}"
    )
    return Section(
        "labels",
        "Likely label errors",
        [text],
        Table(["image", "label", "suggested", "margin"], rows, frozenset(["margin"])),
    )


def _describe_mistakes(subject: Subject) -> str:
    if subject.oof is None:
        return ""
    count, total = len(subject.mistakes), len(subject.oof.ids)
    shown = min(count, MOST_MISTAKES)
    if not has_answers(subject.target):
        return f"The {shown} predictions with the largest errors, the worst first."
    first = f"the {shown} worst, " if shown < count else ""
    return f"{count:,} of {total:,} images are predicted wrong; {first}those with the least probable true class first."


def _shown_mistakes(subject: Subject, images: Images | None, explained: Explained) -> list[Mistake]:
    if subject.oof is None:
        return []
    found = []
    for row in subject.mistakes.iloc[:MOST_MISTAKES].to_dict("records"):
        position = images[1].get(str(row["id"])) if images else None
        detail = f"confidence {row['confidence']:.2f}" if "confidence" in row else f"error {row['error']:.4g}"
        detail += f", of the true class {row['of_true']:.2f}" if "of_true" in row else ""
        detail += f", {row['agree']} members agree" if "agree" in row else ""
        source = thumbnail(images[0], position) if images and position is not None else None
        heat = explained.images.get(str(row["id"]))
        found.append(Mistake(str(row["id"]), row["true"], row["predicted"], detail, source, heat))
    return found


_SECTIONS = (
    _scores, _settings, _training, _stages, _classes, _probabilities, _numbers, _views, _members, _label_errors,
)  # fmt: skip


# The list of mistakes


def write_mistakes(subject: Subject, options: RunOptions) -> tuple[Path, Path | None]:
    """Write mistakes.csv and a sheet of the first images, mistakes.png, in the folder of the subject."""
    table, images = subject.mistakes, image_paths(subject.competition, options)
    shown = table.copy()
    if images:
        paths, position = images
        shown["file"] = [paths.text(position[name]) if name in position else "" for name in map(str, table["id"])]
    csv_file = subject.path / "mistakes.csv"
    write_text(csv_file, shown.to_csv(index=False, lineterminator="\n", float_format="%.4f"))
    if not images or not len(table):
        return csv_file, None
    sheet = subject.path / "mistakes.png"
    draw_sheet(images[0], *titled_mistakes(table.head(MOST_DRAWN), images[1]), sheet)
    return csv_file, sheet


def titled_mistakes(mistakes: pd.DataFrame, position: Mapping[str, int]) -> tuple[list[int], list[str]]:
    """The positions of the images that are at hand, and a title for each."""
    rows = [row for row in mistakes.to_dict("records") if str(row["id"]) in position]
    titles = [f"{str(row['id'])[-24:]}\n{row['true']} → {row['predicted']}" for row in rows]
    return [position[str(row["id"])] for row in rows], titles
