"""torch's DataLoader with two workers, OpenCV and Albumentations.

Most users also normalise the images here; this is left out, since the model does it for the other candidates.
"""

from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812
import cv2
import torch
from albumentations.pytorch import ToTensorV2
from torch.utils.data import DataLoader, Dataset

from benchmarks.feeding import measure_arrays
from benchmarks.recipe import BATCH_SIZE, IMAGE_SIZE, transforms

WORKERS = 2

cv2.setNumThreads(0)  # parallelism comes from the workers


class Images(Dataset):
    def __init__(self, folder: Path) -> None:
        classes = sorted(path.name for path in folder.iterdir())
        self.paths = sorted(folder.glob("*/*.jpg"))
        self.labels = [classes.index(path.parent.name) for path in self.paths]
        self.transform = A.Compose([A.Resize(IMAGE_SIZE, IMAGE_SIZE), *transforms(), ToTensorV2()])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = cv2.cvtColor(cv2.imread(str(self.paths[index])), cv2.COLOR_BGR2RGB)
        return self.transform(image=image)["image"], self.labels[index]


def training_data(folder: Path) -> DataLoader:
    return DataLoader(Images(folder), batch_size=BATCH_SIZE, shuffle=True, num_workers=WORKERS, persistent_workers=True)


def arrays(folder: str, images: int) -> dict[str, Any]:
    return measure_arrays(lambda: training_data(Path(folder)), lambda data, _: data, images)
