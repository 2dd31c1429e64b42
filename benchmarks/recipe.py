"""Settings that are the same for all candidates: image size, batch size and augmentation.

The augmentation is that of configs/members/xception.yaml. podium reads that file; for the peers it is written here, as
their users would. A test compares the two.
"""

from pathlib import Path

import albumentations as A  # noqa: N812
import cv2

IMAGE_SIZE = 224
BATCH_SIZE = 32
MEMBER = Path(__file__).parents[1] / "configs" / "members" / "xception.yaml"


def transforms() -> list[A.BasicTransform]:
    return [
        A.HorizontalFlip(),
        A.Rotate(limit=8, border_mode=cv2.BORDER_REFLECT_101, p=0.5),
        A.RandomResizedCrop(size=(IMAGE_SIZE, IMAGE_SIZE), scale=(0.75, 1.0), ratio=(0.9, 1.11), p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        A.HueSaturationValue(hue_shift_limit=8, sat_shift_limit=20, val_shift_limit=0, p=0.3),
        A.CoarseDropout(num_holes_range=(1, 4), hole_height_range=(0.05, 0.15), hole_width_range=(0.05, 0.15), p=0.3),
    ]
