"""Where the models look in the images that they predict wrong, and a map of the images by their features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.config.resolved import resolved_member
from podium.data.images import Image, Scaling, cut_square, read_scaled
from podium.data.target import Target
from podium.errors import DataError
from podium.reports.charts import COLOURS
from podium.reports.page import as_source
from podium.reports.report_page import Map, Point
from podium.training.run_training import import_libraries
from podium.workflows.subject import Images, Subject

MOST_EXPLAINED, MOST_POINTS = 60, 2_000
"""Images with a heat map, and images on the map."""
_BATCH = 32
_WIDTH, _HEIGHT, _MARGIN = 400, 300, 10


@dataclass(frozen=True)
class Explained:
    images: dict[str, str] = field(default_factory=dict)
    """The sources of the heat maps, by id."""
    map: Map | None = None


def explain_mistakes(subject: Subject, images: Images) -> Explained:
    """By the first member that predicted them: with the model of the fold that had not seen the image."""
    part = subject.parts[0]
    oof = part.oof
    if subject.oof is None or oof is None:
        raise DataError("nothing is predicted yet, so nothing can be explained: run podium predict first")
    member = resolved_member(part.runs[0])
    if subject.target.kind == "regression":
        raise DataError("predicted numbers are not explained: --explain needs classes or labels")
    if member.settings.metadata or member.competition.reading.channels != 3:
        raise DataError(f"{part.name} takes more than RGB images; --explain needs a member of images alone")
    import_libraries(to_fork=False)
    from podium.inference.explain import Explainer, overlay
    from podium.inference.sized_predictor import load_trained_model

    positions = {name: row for row, name in enumerate(oof.ids)}
    wanted = [name for name in map(str, subject.mistakes["id"].iloc[:MOST_EXPLAINED]) if name in positions]
    random = np.random.default_rng(0)
    values = subject.oof.values
    classes = values.argmax(axis=1) if values.shape[1] > 1 else (values[:, 0] >= 0.5).astype(int)
    answers = dict(zip(subject.oof.ids, classes.tolist(), strict=True))
    sources, features, rows_of_features = dict[str, str](), list[NDArray[np.float32]](), list[int]()
    of_fold = {int(run.path.name[4:]): run for run in part.runs}
    assert oof.folds is not None
    folds = sorted(set(oof.folds.tolist()))
    mapped = np.flatnonzero(oof.folds == folds[0])  # the features of different folds have no axes in common
    mapped = np.sort(random.permutation(mapped)[:MOST_POINTS])
    for fold in folds:
        model, size = load_trained_model(of_fold[fold], member)
        explainer = Explainer(model)
        names = [name for name in wanted if oof.folds[positions[name]] == fold]
        for batch, part_of in _batches(names, images, size, member.settings.resize):
            heat = explainer.heat(batch, [answers[name] for name in part_of])
            for name, image, places in zip(part_of, batch, heat, strict=True):
                sources[name] = as_source(overlay(image, places))
        points = mapped if fold == folds[0] else mapped[:0]
        for batch, part_of in _batches([oof.ids[row] for row in points], images, size, member.settings.resize):
            features.append(explainer.features(batch))
            rows_of_features += [positions[name] for name in part_of]
    wrong = set(map(str, subject.mistakes["id"]))
    truth = subject.target.truth(oof.known_truth)
    return Explained(sources, _draw_map(subject, np.concatenate(features), rows_of_features, oof.ids, truth, wrong))


def _batches(names: Sequence[str], images: Images, size: int, resize: Any) -> Iterator[tuple[Image, list[str]]]:
    """The images as the model sees them without test-time views; those that are not found are left out."""
    paths, position = images
    known = [name for name in names if name in position]
    for start in range(0, len(known), _BATCH):
        part = known[start : start + _BATCH]
        loaded = [read_scaled(paths.text(position[name]), [Scaling(size, resize)], paths.reading)[0] for name in part]
        yield np.stack([cut_square(image, size, resize) for image in loaded]), part


def _draw_map(
    subject: Subject,
    features: NDArray[np.float32],
    rows: Sequence[int],
    ids: Sequence[str],
    truth: Any,
    wrong: set[str],
) -> Map:
    """The two directions in which the features differ most."""
    from sklearn.decomposition import PCA

    flat = features.reshape(len(features), -1)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    places = PCA(2, random_state=0).fit_transform(flat)
    low, high = places.min(axis=0), places.max(axis=0)
    places = (places - low) / np.maximum(high - low, 1e-12)
    classes = truth if subject.target.truth_is_class else np.zeros(len(ids), int)
    labels = _names(subject.target, subject.competition.classes) if subject.target.truth_is_class else ["images"]
    colours = [_colour(number, len(labels)) for number in range(len(labels))]
    points = [
        Point(
            round(_MARGIN + float(x) * (_WIDTH - 2 * _MARGIN), 1),
            round(_MARGIN + float(y) * (_HEIGHT - 2 * _MARGIN), 1),
            colours[int(classes[row])],
            f"{ids[row]}: {labels[int(classes[row])]}{', predicted wrong' if ids[row] in wrong else ''}",
            ids[row] in wrong,
        )
        for (x, y), row in zip(places, rows, strict=True)
    ]
    text = (
        f"{len(points):,} validation images by the features of {subject.parts[0].name}, reduced to two dimensions"
        " (PCA). Outlined ones are predicted wrong."
    )
    return Map(text, points, list(zip(labels, colours, strict=True)))


def _names(target: Target, names: dict[str, str]) -> list[str]:
    return [names.get(label, label) for label in target.labels]


def _colour(number: int, count: int) -> str:
    """Of a class; more than six differ by hue."""
    return COLOURS[number] if count <= len(COLOURS) else f"hsl({360 * number // count} 65% {45 + 10 * (number % 2)}%)"
