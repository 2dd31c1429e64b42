"""Train steps timed in a process of their own: so memory figures are true, a kill is an answer, and nothing of it
disturbs what is trained afterwards.

The process reads lines of JSON and answers each with one: first what to train, then batch sizes and precisions.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import median
from typing import IO, Any

from podium.config.member import MemberSettings, Precision
from podium.config.stage import Stage
from podium.errors import ConfigError, MachineError, PodiumError

COMMAND = (sys.executable, "-m", "podium.training.trials")


@dataclass(frozen=True)
class Timed:
    """Some train steps at one batch size."""

    batch_size: int
    seconds: float
    """The median step's."""
    memory: int
    """Bytes at the most: of the GPU that took the most, else of the process."""
    before: int = 0
    """Bytes that the process had taken before its first step; 0 where GPUs are measured."""

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.batch_size / self.seconds


@dataclass
class Trials:
    """One stage's trials. A context: its process ends with the block, however that is left."""

    settings: MemberSettings
    classes: int
    stage: Stage
    command: Sequence[str] = COMMAND
    gpus: int = 0
    """How many there are; this and `auto` are known once it has started."""
    auto: Precision = "float32"
    """What that precision means there; on processors, before any trial."""
    _process: "TrialProcess | None" = None
    _last: int = 0

    def __enter__(self) -> "Trials":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def start(self) -> "TrialProcess":
        """The process: the one there is, or a new one."""
        if self._process is None:
            self._process = TrialProcess(self.command)
            asked = {"settings": self.settings, "stage": self.stage}
            task = {name: part.model_dump(mode="json", by_alias=True) for name, part in asked.items()}
            begun = self._process.ask({**task, "classes": self.classes})
            if begun is None:
                raise MachineError("timing train steps cannot begin: there is too little memory here for TensorFlow")
            self.gpus, self.auto = begun["gpus"], begun["auto"]
        return self._process

    def run(self, batch_size: int, precision: Precision) -> Timed | None:
        """None where it does not fit: the model said so, or the process died of it."""
        if batch_size < self._last:  # memory once taken stays taken: a smaller batch would seem to need as much
            self._end()
        answer = self.start().ask({"batch_size": batch_size, "precision": precision})
        if answer is None or not answer["fits"]:
            self._end()
            return None
        self._last = batch_size
        return Timed(batch_size, median(answer["seconds"]), answer["memory"], answer["before"])

    def again(self, timed: Timed, precision: Precision) -> Timed:
        """The same once more, for its time alone, in the process there is: what else goes on only makes it slower."""
        answer = self.start().ask({"batch_size": timed.batch_size, "precision": precision})
        if answer is None or not answer["fits"]:
            self._end()
            return timed
        return replace(timed, seconds=min(timed.seconds, median(answer["seconds"])))

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
        self._process, self._last = None, 0


class TrialProcess:
    """A question is answered, or the process dies of it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the process that asks, which then ends this one
            env={**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)},
        )

    def ask(self, question: dict[str, Any]) -> dict[str, Any] | None:
        """None where it died by a signal: killed for its memory, or aborted where there was none to be had."""
        answers, questions = self._process.stdout, self._process.stdin
        assert answers is not None
        assert questions is not None
        line = ""
        with suppress(BrokenPipeError):
            print(json.dumps(question), file=questions, flush=True)
            line = answers.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            if "error" in answer:
                raise ConfigError(answer["error"])
            return answer
        code = self._process.wait()
        if code < 0:
            return None
        raise MachineError(f"timing train steps failed with exit code {code}: {self._last_words()}")

    def _last_words(self) -> str:
        self._log.seek(0)
        told = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return told[-1] if told else "it said nothing"

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream:
                with suppress(BrokenPipeError):
                    stream.close()


def answer_trials() -> None:
    """The other end: what runs in that process."""
    from podium.hardware import go_first

    go_first()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries that print say it elsewhere

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        asked = json.loads(sys.stdin.readline())
        from podium.models.devices import names_of_gpus, resolved
        from podium.training.trial import StageTrial

        settings, stage = MemberSettings.model_validate(asked["settings"]), Stage.model_validate(asked["stage"])
        trial = StageTrial(settings, asked["classes"], stage)
        say({"gpus": len(names_of_gpus()), "auto": resolved("auto")})
        for line in sys.stdin:
            asked = json.loads(line)
            say(trial.measure(asked["batch_size"], asked["precision"]))
    except PodiumError as error:
        say({"error": str(error)})


if __name__ == "__main__":
    answer_trials()
