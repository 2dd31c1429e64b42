"""Small datasets and detections, and random ones."""

import numpy as np
import pandas as pd

from podium.detection.dataset import BOX_COLUMNS, CORNERS, IMAGE_COLUMNS, BoxDataset
from podium.detection.detections import detections_table


def dataset_of(boxes, images, classes=("Boat",), slug="boats"):
    """`boxes` are (id, class, left, top, right, bottom) or with True at the end for a group; `images` id: part."""
    table = pd.DataFrame(
        [[*box[:6], False, False, bool(box[6:] and box[6]), False] for box in boxes], columns=list(BOX_COLUMNS)
    ).astype(dict.fromkeys(CORNERS, float) | {"group": bool, "id": object, "class": object})
    known = pd.DataFrame(
        [[name, f"{name}.jpg", 100, 100, False, part] for name, part in images.items()], columns=list(IMAGE_COLUMNS)
    )
    return BoxDataset(slug, list(classes), known, table, {})


def random_case(seed, images=30, classes=("Boat", "Canoe"), boxes=3, extra=4, parts=("test",)):
    """Boxes on most images, some of them groups; detections near them and others anywhere, scores often equal."""
    random = np.random.default_rng(seed)
    split = {f"p{number:05d}": parts[number % len(parts)] for number in range(images)}
    rows, found = [], []
    for name in split:
        for _ in range(random.integers(0, boxes + 1)):
            kind = classes[random.integers(len(classes))]
            box = _box(random)
            rows.append((name, kind, *box, bool(random.random() < 0.15)))
            if random.random() < 0.8:
                moved = np.round(box + random.normal(0, 4, 4), 1)
                if moved[0] < moved[2] and moved[1] < moved[3]:
                    found.append((name, kind, _score(random), *moved))
        for _ in range(random.integers(0, extra)):
            found.append((name, classes[random.integers(len(classes))], _score(random), *_box(random)))
    order = random.permutation(len(found))
    return dataset_of(rows, split, classes), detections_table([found[place] for place in order])


def _box(random):
    left, top = random.integers(0, 70, 2)
    width, height = random.integers(5, 30, 2)
    return np.array([left, top, left + width, top + height], dtype=float)


def _score(random):
    return round(float(random.random()), 1)
