"""Small drawn competitions in the layouts that Kaggle's competitions have, each with something to learn."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

RED, GREEN, BLUE = (40, 40, 220), (40, 200, 40), (220, 60, 40)
COLOURS = {"red": RED, "green": GREEN, "blue": BLUE}


class Drawer:
    """Draws images of discs; the answers of the test images go to hidden.csv beside the data folder."""

    def __init__(self, folder: Path, train: int, test: int, size: int = 48, seed: int = 0) -> None:
        self.folder, self.counts, self.size = folder, {"train": train, "test": test}, size
        self.random = np.random.default_rng(seed)

    def draw(self, path: str, discs: Sequence[tuple[tuple[int, int, int], float]]) -> None:
        """Discs of these colours; a radius is a share of the image's size."""
        image = self.random.integers(70, 130, (self.size, self.size, 3), dtype=np.uint8)
        for colour, radius in discs:
            centre = self.random.integers(self.size // 4, 3 * self.size // 4, 2)
            cv2.circle(image, (int(centre[0]), int(centre[1])), max(2, round(radius * self.size)), colour, -1)
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(target), image)

    def choose(self, names: Sequence[str]) -> str:
        return str(names[int(self.random.integers(len(names)))])

    def write(self, train: list[dict[str, object]] | None, test: list[dict[str, object]], blank: object) -> None:
        """train.csv, a sample submission of blank answers, and the true answers beside the folder."""
        if train is not None:
            pd.DataFrame(train).to_csv(self.folder / "train.csv", index=False)
        hidden = pd.DataFrame(test)
        hidden.to_csv(self.folder.with_suffix(".hidden.csv"), index=False)
        sample = hidden.copy()
        sample[sample.columns[1:]] = blank
        sample.to_csv(self.folder / "sample_submission.csv", index=False)


def text_label(drawer: Drawer) -> None:
    """A label in words, and ids without the suffix of their files."""
    rows: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    for part, count in drawer.counts.items():
        for number in range(count):
            colour = drawer.choose(list(COLOURS))
            drawer.draw(f"{part}_images/{part}{number:04}.jpg", [(COLOURS[colour], 0.2)])
            rows[part].append({"image_id": f"{part}{number:04}", "colour": colour})
    drawer.write(rows["train"], rows["test"], "red")


def class_folders(drawer: Drawer) -> None:
    """A folder for each class."""
    test: list[dict[str, object]] = []
    for number in range(drawer.counts["train"]):
        colour = drawer.choose(list(COLOURS))
        drawer.draw(f"train/{colour}/{number:04}.png", [(COLOURS[colour], 0.2)])
    for number in range(drawer.counts["test"]):
        colour = drawer.choose(list(COLOURS))
        drawer.draw(f"test/{number:04}.png", [(COLOURS[colour], 0.2)])
        test.append({"file": f"{number:04}.png", "colour": colour})
    drawer.write(None, test, "red")


def one_hot(drawer: Drawer) -> None:
    """A column for each class, all images in one folder."""
    rows: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    for part, count in drawer.counts.items():
        for number in range(count):
            present = [name for name in COLOURS if drawer.random.random() < 0.5]
            name = f"{part.title()}_{number}"
            drawer.draw(f"images/{name}.jpg", [(COLOURS[colour], 0.16) for colour in present])
            rows[part].append({"image_id": name, **{colour: int(colour in present) for colour in COLOURS}})
    drawer.write(rows["train"], rows["test"], 0.5)


def separated_labels(drawer: Drawer) -> None:
    """All labels of an image in one column, separated by spaces."""
    rows: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    for part, count in drawer.counts.items():
        for number in range(count):
            present = [name for name in COLOURS if drawer.random.random() < 0.5] or ["red"]
            drawer.draw(f"{part}/{number:04}.jpg", [(COLOURS[colour], 0.16) for colour in present])
            rows[part].append({"image": f"{number:04}.jpg", "labels": " ".join(present)})
    drawer.write(rows["train"], rows["test"], "red")


def regression(drawer: Drawer) -> None:
    """A number: the size of the disc in percent."""
    rows: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    for part, count in drawer.counts.items():
        for number in range(count):
            radius = drawer.random.uniform(0.08, 0.4)
            drawer.draw(f"{part}/{part}-{number:04}.jpg", [(GREEN, radius)])
            rows[part].append({"Id": f"{part}-{number:04}", "size": round(100 * radius, 2)})
    drawer.write(rows["train"], rows["test"], 20.5)


OWN_METRIC = '''
"""The area under the ROC curve above a true positive rate of 80 %, as the competition defines it."""

from sklearn.metrics import roc_curve

HIGHER_IS_BETTER = True


def score(truth, predictions):
    fpr, tpr, _ = roc_curve(truth, predictions[:, 0])
    above = tpr.clip(0.8) - 0.8
    return float(((fpr[1:] - fpr[:-1]) * (above[1:] + above[:-1]) / 2).sum() / 0.2)
'''


def binary(drawer: Drawer) -> None:
    """One column of 0 and 1, of which the probability is asked; the metric is the competition's own."""
    rows: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    for part, count in drawer.counts.items():
        for number in range(count):
            answer = int(drawer.random.random() < 0.4)
            drawer.draw(f"{part}/ISIC_{number:05}.jpg", [(RED if answer else BLUE, 0.2)])
            rows[part].append({"isic_id": f"ISIC_{number:05}", "target": answer})
    drawer.write(rows["train"], rows["test"], 0.3)
    drawer.folder.with_name("own_metric.py").write_text(OWN_METRIC)


def patients(drawer: Drawer) -> None:
    """Grades of images of patients, in a folder for each, with a table of metadata."""
    rows: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    for part, count in drawer.counts.items():
        patient, grade = "", 0
        for number in range(count):
            if number % 4 == 0:
                patient, grade = f"{part}_p{number // 4:03}", int(drawer.random.integers(4))
            name = f"{part}{number:04}"
            drawer.draw(f"{part}/{patient}/{name}.png", [(GREEN, 0.08 + 0.1 * grade)])
            age = int(30 + 10 * grade + drawer.random.integers(15))
            rows[part].append(
                {"id": name, "patient_id": patient, "age": age, "sex": drawer.choose("fm"), "grade": grade}
            )
    drawer.write(rows["train"], [{"id": row["id"], "grade": row["grade"]} for row in rows["test"]], 0)
    test = pd.DataFrame(rows["test"]).drop(columns="grade")
    test.to_csv(drawer.folder / "test.csv", index=False)


LAYOUTS: dict[str, Callable[[Drawer], None]] = {
    "text-label": text_label,
    "class-folders": class_folders,
    "one-hot": one_hot,
    "separated-labels": separated_labels,
    "regression": regression,
    "binary": binary,
    "patients": patients,
}
OPTIONS = {"patients": ["--metric", "quadratic_kappa"], "binary": ["--metric", "own_metric.py:score"]}
"""What the competition's page says, as options of `podium init`."""


def draw(name: str, folder: Path, train: int = 60, test: int = 12, size: int = 48) -> Path:
    folder.mkdir(parents=True)
    LAYOUTS[name](Drawer(folder, train, test, size))
    return folder
