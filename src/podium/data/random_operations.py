"""TrivialAugment and RandAugment: random operations on an image, as transforms of Albumentations."""

import math
from typing import Any

import albumentations

MAGNITUDES = 30
"""The largest magnitude of RandAugment."""


def trivial_augment(p: float = 1.0) -> Any:
    """One operation of any strength (Müller and Hutter, 2021), in the wide ranges of the paper."""
    operations = _operations(shear=0.99, translation=32 / 224, degrees=135, change=0.99, bits=2, threshold=0)
    return albumentations.OneOf(operations, p=p)


def rand_augment(n: int = 2, magnitude: float = 9, p: float = 1.0) -> Any:
    """`n` operations of a strength up to `magnitude` of 30 (Cubuk et al., 2020)."""
    if not 0 < magnitude <= MAGNITUDES:
        raise ValueError(f"expected a magnitude above 0, up to {MAGNITUDES}, got {magnitude!r}")
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"expected n, the number of operations, as a whole number from 1, got {n!r}")
    share = magnitude / MAGNITUDES
    operations = _operations(
        shear=0.3 * share,
        translation=150 / 331 * share,
        degrees=30 * share,
        change=0.9 * share,
        bits=round(8 - 4 * share),
        threshold=1 - share,
    )
    return albumentations.RandomOrder(operations, n=n, replace=True, p=p)


def _operations(
    *, shear: float, translation: float, degrees: float, change: float, bits: int, threshold: float
) -> list[Any]:
    """The 14 operations of both papers, each of a random strength up to these limits."""
    slope, moved = math.degrees(math.atan(shear)), (-translation, translation)
    factors, as_it_is = (1 - change, 1 + change), (1, 1)
    colour = {"brightness": as_it_is, "contrast": as_it_is, "saturation": as_it_is, "hue": (0, 0), "p": 1}
    sharpness = [
        albumentations.Sharpen(alpha=(0, change / 13), lightness=as_it_is, p=1),
        albumentations.GaussianBlur(blur_limit=3, sigma_limit=(0.1, 0.1 + change / 2), p=1),
    ]
    return [
        albumentations.NoOp(p=1),
        albumentations.Affine(shear={"x": (-slope, slope), "y": (0, 0)}, p=1),
        albumentations.Affine(shear={"x": (0, 0), "y": (-slope, slope)}, p=1),
        albumentations.Affine(translate_percent={"x": moved, "y": (0, 0)}, p=1),
        albumentations.Affine(translate_percent={"x": (0, 0), "y": moved}, p=1),
        albumentations.Rotate(limit=(-degrees, degrees), p=1),
        albumentations.ColorJitter(**{**colour, "brightness": factors}),
        albumentations.ColorJitter(**{**colour, "contrast": factors}),
        albumentations.ColorJitter(**{**colour, "saturation": factors}),
        albumentations.OneOf(sharpness, p=1),
        albumentations.Posterize(num_bits=(bits, 8), p=1),
        albumentations.Solarize(threshold_range=(threshold, 1), p=1),
        albumentations.AutoContrast(method="pil", p=1),
        albumentations.Equalize(p=1),
    ]
