"""Training steps of a stage timed on random images, in a child process.

In a child process, memory figures are accurate, running out of memory kills only the child, and no memory stays
allocated in the process that trains afterwards. The child reads lines of JSON and answers each with a line: first the
stage, then batch sizes with precisions.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import IO, TYPE_CHECKING, Any

from podium.config.member import MemberSettings
from podium.config.reading import RGB, Reading
from podium.config.stage import Precision, Stage
from podium.errors import ConfigError, MachineError, PodiumError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from podium.data.target import Target

COMMAND = (sys.executable, "-m", "podium.training.step_timing")
WARM_UP_STEPS = 2
"""Untimed: the first step traces the graph, the second still allocates memory."""
TIMED_SECONDS, MIN_STEPS, MAX_STEPS = 3.0, 3, 20
LONG_STEP, MIN_LONG_STEPS = 5.0, 2
"""Steps that take longer than LONG_STEP seconds vary little, so fewer are timed."""


@dataclass(frozen=True)
class StepTiming:
    """Timed training steps at one batch size."""

    batch_size: int
    seconds: float
    """Of the median step."""
    memory: int
    """Peak bytes of the GPU that used the most, or of the process without GPUs."""
    memory_before: int = 0
    """Peak bytes of the process before its first step; 0 on GPUs."""

    @property
    def images_per_second(self) -> float:
        return self.batch_size / self.seconds


class StepTimer:
    """Times the training steps of one stage. A context manager, which ends the child process."""

    def __init__(
        self,
        settings: MemberSettings,
        target: "Target",
        stage: Stage,
        command: Sequence[str] = COMMAND,
        channels: int = RGB,
    ) -> None:
        from podium.data.targets import target_fields

        self._first_line = {
            "settings": settings.model_dump(mode="json", by_alias=True),
            "stage": stage.model_dump(mode="json", by_alias=True),
            "target": target_fields(target),
            "channels": channels,
        }
        self._command = command
        self._child: _Child | None = None
        self._last_batch_size = 0
        self.gpus = 0
        """The number of GPUs; known after `start`."""
        self.auto_precision: Precision = "float32"
        """What `precision: auto` means on this machine's GPUs; known after `start`."""

    def __enter__(self) -> "StepTimer":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def start(self) -> None:
        self._running_child()

    def time(self, batch_size: int, precision: Precision) -> StepTiming | None:
        """None if the batch does not fit: TensorFlow reports it, or the child process is killed."""
        if (
            batch_size < self._last_batch_size
        ):  # freed memory is not returned: a smaller batch would seem to need as much
            self._stop()
        answer = self._ask(batch_size, precision)
        if answer is None:
            return None
        self._last_batch_size = batch_size
        return StepTiming(batch_size, median(answer["seconds"]), answer["memory"], answer["memory_before"])

    def time_again(self, timing: StepTiming, precision: Precision) -> StepTiming:
        """Time again and keep the shorter time: other load on the machine only makes steps slower."""
        answer = self._ask(timing.batch_size, precision)
        return timing if answer is None else replace(timing, seconds=min(timing.seconds, median(answer["seconds"])))

    def _ask(self, batch_size: int, precision: Precision) -> dict[str, Any] | None:
        answer = self._running_child().ask({"batch_size": batch_size, "precision": precision})
        if answer is None or not answer["fits"]:
            self._stop()
            return None
        return answer

    def _running_child(self) -> "_Child":
        if self._child is None:
            self._child = _Child(self._command)
            answer = self._child.ask(self._first_line)
            if answer is None:
                raise MachineError("cannot time training steps: not enough memory to start TensorFlow")
            self.gpus, self.auto_precision = answer["gpus"], answer["auto_precision"]
        return self._child

    def _stop(self) -> None:
        if self._child is not None:
            self._child.stop()
        self._child, self._last_batch_size = None, 0


class _Child:
    def __init__(self, command: Sequence[str]) -> None:
        self._log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C reaches only the parent, which then stops the child
            env={**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)},
        )

    def ask(self, question: dict[str, Any]) -> dict[str, Any] | None:
        """None if the child was killed by a signal, which means out of memory."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ""
        with suppress(BrokenPipeError):
            print(json.dumps(question), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            if "error" in answer:
                raise ConfigError(answer["error"])
            return answer
        code = self._process.wait()
        if code < 0:
            return None
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        raise MachineError(f"timing training steps failed with exit code {code}: {lines[-1] if lines else 'no output'}")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream:
                with suppress(BrokenPipeError):
                    stream.close()


def main() -> None:
    """The child process."""
    from podium.hardware import prefer_as_oom_victim

    prefer_as_oom_victim()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # output of libraries goes to stderr

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    try:
        from podium.data.targets import target_from
        from podium.models.devices import gpu_names, resolve_precision

        content = json.loads(sys.stdin.readline())
        steps = _StageSteps(
            MemberSettings.model_validate(content["settings"]),
            target_from(content["target"]),
            Stage.model_validate(content["stage"]),
            content["channels"],
        )
        answer({"gpus": len(gpu_names()), "auto_precision": resolve_precision("auto")})
        for line in sys.stdin:
            answer(steps.time(**json.loads(line)))
    except PodiumError as error:
        answer({"error": str(error)})


class _StageSteps:
    """The model of the stage with random weights, built as the trainer does."""

    def __init__(self, settings: MemberSettings, target: "Target", stage: Stage, channels: int) -> None:
        self._settings, self._target, self._stage, self._channels = settings, target, stage, channels
        self._models: dict[str, Any] = {}

    def time(self, batch_size: int, precision: Precision) -> dict[str, Any]:
        import tensorflow as tf

        from podium.hardware import peak_memory
        from podium.models.devices import gpu_names, is_out_of_memory

        model = self._model(precision)
        gpus = [name.removeprefix("/device:") for name in gpu_names()]
        memory_before = 0 if gpus else peak_memory()
        for gpu in gpus:
            tf.config.experimental.reset_memory_stats(gpu)
        try:
            warm = self._fit(model, batch_size, WARM_UP_STEPS)[-1]
            minimum = MIN_STEPS if warm < LONG_STEP else MIN_LONG_STEPS
            steps = min(MAX_STEPS, max(minimum, round(TIMED_SECONDS / max(warm, 1e-3))))
            seconds = self._fit(model, batch_size, 1 + steps)[1:]
        except Exception as error:
            if is_out_of_memory(error):
                return {"fits": False}
            raise
        peaks = [tf.config.experimental.get_memory_info(gpu)["peak"] for gpu in gpus]
        memory = int(max(peaks)) if peaks else peak_memory()
        return {"fits": True, "seconds": seconds, "memory": memory, "memory_before": memory_before}

    def _model(self, precision: Precision) -> Any:
        import numpy as np

        from podium.data.image_paths import ImagePaths
        from podium.data.labelled import LabelledImages
        from podium.data.metadata import Metadata
        from podium.evaluation.metrics import METRICS
        from podium.models.devices import make_repeatable, model_scope, precision_scope, resolve_precision
        from podium.training.classification import ClassificationTask
        from podium.training.optimizers import make_optimizer

        if precision not in self._models:
            paths = ImagePaths.of([]).read_as(Reading(channels=self._channels))
            no_images, any_metric = LabelledImages(paths, np.zeros(0, np.int64)), METRICS["accuracy"]
            one_column = Metadata({"": None})  # more make no difference
            settings = self._settings.model_copy(update={"class_weights": None})  # there are no rows
            task = ClassificationTask(
                settings, self._target, any_metric, no_images, no_images, fold=0, metadata=one_column
            )
            make_repeatable(self._settings.seed)  # deterministic operations may be slower
            with precision_scope(resolve_precision(precision)):
                model = task.build(self._stage.image_size, pretrained=False)
            task.unfreeze(model, self._stage)
            with model_scope(model):
                task.compile(model, make_optimizer(self._stage, task.backbone(model)))
            self._models[precision] = model
        return self._models[precision]

    def _fit(self, model: Any, batch_size: int, steps: int) -> list[float]:
        """Seconds of each step, including the wait for its batch."""
        import keras

        from podium.models.devices import training_dataset

        ends: list[float] = []

        def record_end(batch: int, logs: dict[str, Any]) -> None:
            float(logs["loss"])  # waits for a GPU, which computes asynchronously
            ends.append(time.perf_counter())

        start = time.perf_counter()
        batches = _RandomBatches(model, len(self._target.outputs), batch_size, steps)
        with training_dataset(model, batches) as dataset:
            model.fit(dataset, callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=record_end)], verbose=0)
        return [end - before for before, end in pairwise([start, *ends])]


class _RandomBatches:
    """Random batches, each in new memory as in a training."""

    epoch = 0

    def __init__(self, model: Any, outputs: int, batch_size: int, steps: int) -> None:
        import numpy as np

        self._steps, (images, *more) = steps, model.inputs
        self._images = np.random.default_rng(0).integers(0, 256, (batch_size, *images.shape[1:]), dtype=np.uint8)
        self._metadata = np.zeros((batch_size, 1), np.float32) if more else None
        self._targets = np.full((batch_size, outputs), 1 / outputs, np.float32)  # valid for every kind of target

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> "tuple[Any, NDArray[np.float32]]":
        from podium.data.batches import with_metadata

        return with_metadata(self._images.copy(), self._metadata, slice(None)), self._targets


if __name__ == "__main__":
    main()
