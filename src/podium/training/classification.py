"""Classification as the trainer's task: one of several classes a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import classification_report, confusion_matrix

from podium.config.member import MemberSettings
from podium.config.stage import Stage
from podium.data.augmentation import Augmentation
from podium.data.batches import PredictionBatches, TrainingBatches
from podium.data.pictures import fit_picture, read_picture
from podium.errors import TrainingDivergedError
from podium.files import write_text
from podium.metrics import METRICS
from podium.models import devices
from podium.models.backbone import settle_statistics, unfreeze
from podium.models.classifier import BACKBONE, build_classifier

SETTLED_ON = 32
"""Pictures from which random weights take their first BatchNormalization statistics."""


@dataclass(frozen=True)
class LabelledPictures:
    paths: Sequence[Path]
    labels: NDArray[np.int64]


class ClassificationTask:
    def __init__(
        self,
        settings: MemberSettings,
        classes: Sequence[str],
        metric: str,
        training: LabelledPictures,
        validation: LabelledPictures,
        fold: int,
        eager: bool = False,
    ) -> None:
        """`eager` runs layer by layer: for a few steps of a large model, making its graph takes most of the time."""
        self._settings, self._classes, self._metric = settings, list(classes), METRICS[metric]
        self._training, self._validation, self._fold = training, validation, fold
        self._eager = eager
        self._last_probs: NDArray[np.float64] | None = None
        self._plain: tuple[Any, Any] | None = None
        self.monitor = "val_loss" if settings.monitor == "loss" else f"val_{metric}"
        higher = settings.monitor == "metric" and self._metric.higher_is_better
        self.mode: Literal["max", "min"] = "max" if higher else "min"

    def build(self, image_size: int, *, pretrained: bool) -> Any:
        together = devices.found(self._settings.stages)
        model = build_classifier(
            self._settings, len(self._classes), image_size, pretrained=pretrained, devices=together
        )
        if pretrained and self._settings.backbone.weights == "none":
            some = self._training.paths[:SETTLED_ON]
            fitted = [fit_picture(read_picture(path), image_size, self._settings.resize) for path in some]
            settle_statistics(model, np.stack(fitted))
        return model

    def unfreeze(self, model: Any, stage: Stage) -> None:
        unfreeze(model.get_layer(BACKBONE), stage.unfreeze, self._settings.backbone.freeze_batchnorm)

    def compile(self, model: Any, optimizer: Any) -> None:
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=self._settings.label_smoothing)
        model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"], run_eagerly=self._eager)

    def plain(self, model: Any) -> Any:
        if self._plain is None or self._plain[0] is not model:
            self._plain = (model, keras.Model(model.inputs, model.outputs))
        return self._plain[1]

    def batches(self, number: int, stage: Stage) -> TrainingBatches:
        transforms = self._settings.augmentation if stage.augmentation is None else stage.augmentation
        return TrainingBatches(
            self._training.paths,
            np.eye(len(self._classes), dtype=np.float32)[self._training.labels],
            image_size=stage.image_size,
            resize=self._settings.resize,
            batch_size=stage.batch_size,
            augmentation=Augmentation(transforms, stage.image_size),
            seed=(self._settings.seed, self._fold, number),
        )

    def validate(self, model: Any, stage: Stage) -> dict[str, float]:
        """The plain cross-entropy (no smoothing, no L2), the accuracy and the competition's metric."""
        batches = PredictionBatches(
            self._validation.paths,
            lambda picture, _: fit_picture(picture, stage.image_size, self._settings.resize),
            stage.batch_size,
        )
        probs = np.asarray(self.plain(model).predict(batches, verbose=0), dtype=np.float64)
        if not np.isfinite(probs).all():
            raise TrainingDivergedError(
                f"the predictions became NaN in stage {stage.name} at the learning rate {stage.learning_rate:.3g};"
                " a training that converges keeps them finite: lower the stage's learning_rate"
            )
        self._last_probs = probs
        labels = self._validation.labels
        figures = {
            "val_loss": METRICS["log_loss"](labels, probs),
            "val_accuracy": METRICS["accuracy"](labels, probs),
        }
        return {**figures, f"val_{self._metric.name}": self._metric(labels, probs)}

    @property
    def validation_count(self) -> int:
        return len(self._validation.paths)

    def report(self, folder: Path) -> None:
        assert self._last_probs is not None
        write_reports(folder, self._classes, self._validation.labels, self._last_probs)


def write_reports(folder: Path, classes: Sequence[str], labels: NDArray[np.int64], probs: NDArray[np.float64]) -> None:
    """Precision, recall and F1 of every class, and which class was taken for which (a row is the true class)."""
    numbers, predicted = list(range(len(classes))), probs.argmax(axis=1)
    report = classification_report(
        labels, predicted, labels=numbers, target_names=list(classes), output_dict=True, zero_division=0
    )
    table = pd.DataFrame([{"class": name, **figures} for name, figures in report.items() if isinstance(figures, dict)])
    write_text(folder / "classification_report.csv", table.to_csv(index=False, lineterminator="\n"))
    confusion = pd.DataFrame(confusion_matrix(labels, predicted, labels=numbers), columns=list(classes))
    confusion.insert(0, "true class", list(classes))
    write_text(folder / "confusion_matrix.csv", confusion.to_csv(index=False, lineterminator="\n"))
