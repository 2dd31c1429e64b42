"""Alternating rounds of candidates, A B C A B C, each in its own process with an empty cache."""

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

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 900
"""Seconds for one job, more than four times as long as any job takes on two idle cores."""
Result = dict[str, Any]
Results = dict[str, list[Result]]
"""For each candidate its result in every round."""


class MeasuringFailedError(Exception):
    """The process of a job ended without a result; the message has the end of its output."""


@dataclass(frozen=True)
class Candidate:
    """`call` is `module:function`; `arguments` may depend on the round and on its earlier results."""

    name: str
    call: str
    arguments: Mapping[str, Any] | Callable[[int, Mapping[str, Result]], Mapping[str, Any]]

    def job(self, number: int, before: Mapping[str, Result]) -> dict[str, Any]:
        given = self.arguments(number, before) if callable(self.arguments) else self.arguments
        return {"call": self.call, "arguments": dict(given)}


@dataclass
class Machine:
    """Runs jobs. `torch` is a folder with torch, if it is not installed."""

    torch: Path | None = None
    report: Callable[[str], None] = print
    timeout: float = TIMEOUT
    start: float = field(default_factory=time.monotonic)

    def run(self, job: dict[str, Any]) -> Result:
        with tempfile.TemporaryDirectory(prefix="podium-bench-") as temporary:
            job_file, result_file = Path(temporary) / "job.json", Path(temporary) / "result.json"
            job_file.write_text(json.dumps(job | {"torch": str(self.torch) if self.torch else None}))
            environment = {
                **os.environ,
                "PODIUM_CACHE": str(Path(temporary) / "cache"),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "NO_ALBUMENTATIONS_UPDATE": "1",
            }
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
            try:
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.child", job_file, result_file],
                    cwd=temporary,  # jobs may write into the current folder
                    env=environment,
                    capture_output=True,  # also waits for worker processes, so that none disturbs the next job
                    text=True,
                    check=False,
                    timeout=self.timeout,
                )
            except subprocess.TimeoutExpired:
                raise MeasuringFailedError(f"{job['call']} did not end within {self.timeout:.0f} s") from None
            if done.returncode or not result_file.is_file():
                raise MeasuringFailedError(
                    f"{job['call']} failed with exit code {done.returncode}:\n{done.stderr[-4000:]}"
                )
            return json.loads(result_file.read_text())

    def run_rounds(self, candidates: Sequence[Candidate], rounds: int, what: str) -> Results:
        """The results of all candidates in all rounds."""
        results: Results = {candidate.name: [] for candidate in candidates}
        for number in range(rounds):
            before: dict[str, Result] = {}
            for candidate in candidates:
                start = time.monotonic()
                before[candidate.name] = self.run(candidate.job(number, before))
                results[candidate.name].append(before[candidate.name])
                self.report(
                    f"{_clock(start - self.start)}  {what}, round {number + 1} of {rounds}: {candidate.name},"
                    f" {time.monotonic() - start:.1f} s"
                )
        return results


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:3}:{int(seconds) % 60:02}"
