"""Squares on noise, with their boxes: a dataset that a tiny detector can learn."""

import cv2
import numpy as np
import pandas as pd
import yaml

from podium.config.stage import Stage
from podium.detection.config import DetectorSettings
from podium.detection.dataset import BoxDataset, write_dataset
from podium.detection.task import DetectionTask, ImagesWithBoxes

CLASSES = ["Red", "Blue"]
COLOURS = {"Red": (220, 30, 30), "Blue": (30, 30, 220)}
STAGE = {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 4, "image_size": 64, "learning_rate": 1e-3}
DETECTOR = {
    "slug": "squares",
    "source": "yolo",
    "backbone": {"name": "SmallResNet", "weights": "none", "alpha": 0.25, "freeze_batchnorm": False},
    "levels": 5,
    "head": {"layers": 1},
    "augmentation": ["HorizontalFlip"],
}


def draw_set(folder, train=12, validation=6, empty=1, size=64):
    """Each image holds one square of either class; the last of each part none."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    images, boxes = [], []
    for number in range(train + validation):
        part = "train" if number < train else "validation"
        is_empty = number in range(train - empty, train) or number >= train + validation - empty
        name = f"{number:03d}"
        image = random.integers(90, 140, (size, size, 3), dtype=np.uint8)
        if not is_empty:
            kind = CLASSES[number % 2]
            left, top, side = (int(random.integers(*span)) for span in ((4, 28), (4, 28), (20, 32)))
            image[top : top + side, left : left + side] = COLOURS[kind]
            boxes.append((name, kind, left, top, left + side, top + side, False, False, False, False))
        cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        images.append((name, f"{name}.png", size, size, False, part))
    return BoxDataset(
        "squares",
        CLASSES,
        pd.DataFrame(images, columns=["id", "file", "width", "height", "rotated", "split"]),
        pd.DataFrame(
            boxes,
            columns=["id", "class", "left", "top", "right", "bottom", "occluded", "truncated", "group", "depiction"],
        ),
        {},
    )


def prepare_squares(folder):
    """Images, their dataset and a detector file."""
    write_dataset(draw_set(folder / "data"), folder / "runs" / "boxes" / "squares")
    (folder / "squares.yaml").write_text(yaml.safe_dump(DETECTOR | {"stages": [STAGE]}))
    return folder


def detector(**changes):
    return DetectorSettings.model_validate(DETECTOR | changes)


def stage(**changes):
    return Stage.model_validate(STAGE | changes)


def task_of(folder, dataset, settings=None, **options):
    parts = [ImagesWithBoxes.of(dataset, part, folder, folder) for part in ("train", "validation")]
    return DetectionTask(settings or detector(), dataset, *parts, **options)
