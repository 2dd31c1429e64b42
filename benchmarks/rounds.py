"""Contenders in turns, A B C A B C, each turn in a process of its own with caches of its own."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PATIENCE = 900
"""Seconds for one job; none takes a quarter of it on two quiet cores."""
Result = dict[str, Any]
Results = dict[str, list[Result]]
"""Of each contender, turn after turn."""


class MeasuringFailedError(Exception):
    """A job's process ended without an answer; the message has the end of what it said."""


@dataclass(frozen=True)
class Contender:
    """`call` is `module:function`; `arguments` may depend on the turn, and on what the others of the turn returned."""

    name: str
    call: str
    arguments: Mapping[str, Any] | Callable[[int, Mapping[str, Result]], Mapping[str, Any]]

    def job(self, turn: int, before: Mapping[str, Result]) -> dict[str, Any]:
        given = self.arguments(turn, before) if callable(self.arguments) else self.arguments
        return {"call": self.call, "arguments": dict(given)}


@dataclass
class Machine:
    """What runs a job; `torch` is a folder that holds it, beside what is installed."""

    torch: Path | None = None
    tell: Callable[[str], None] = print
    began: float = field(default_factory=time.monotonic)

    def run(self, job: dict[str, Any]) -> Result:
        with tempfile.TemporaryDirectory(prefix="podium-bench-") as temporary:
            asked, answered = Path(temporary) / "job.json", Path(temporary) / "answer.json"
            asked.write_text(json.dumps(job | {"torch": str(self.torch) if self.torch else None}))
            environment = {
                **os.environ,
                "PODIUM_CACHE": str(Path(temporary) / "cache"),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "NO_ALBUMENTATIONS_UPDATE": "1",
            }
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
            try:
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.child", asked, answered],
                    cwd=temporary,  # what a job writes it may write where it stands
                    env=environment,
                    capture_output=True,  # which waits for worker processes too, so that none disturbs the next job
                    text=True,
                    check=False,
                    timeout=PATIENCE,
                )
            except subprocess.TimeoutExpired:
                raise MeasuringFailedError(f"{job['call']} did not end within {PATIENCE} s") from None
            if done.returncode or not answered.is_file():
                raise MeasuringFailedError(
                    f"{job['call']} failed with exit code {done.returncode}:\n{done.stderr[-4000:]}"
                )
            return json.loads(answered.read_text())

    def in_turns(self, contenders: Sequence[Contender], turns: int, what: str) -> Results:
        """What each returned, turn after turn."""
        results: Results = {contender.name: [] for contender in contenders}
        for turn in range(turns):
            before: dict[str, Result] = {}
            for contender in contenders:
                began = time.monotonic()
                before[contender.name] = self.run(contender.job(turn, before))
                results[contender.name].append(before[contender.name])
                self.tell(
                    f"{_clock(began - self.began)}  {what}, {turn + 1} of {turns}: {contender.name},"
                    f" {time.monotonic() - began:.1f} s"
                )
        return results


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:3}:{int(seconds) % 60:02}"
