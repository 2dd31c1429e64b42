"""The runner that runs what was pushed in earnest: by podium's own rehearsal, in Kaggle's folders, without network."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from standin.kernels import Version
from standin.sessions import TIMED_OUT, Inputs, Ran


def run_pushed(version: Version, inputs: Inputs, working: Path, smaller: Mapping[str, Any] | None = None) -> Ran:
    """`standin.runner = run_pushed`. What the script leaves is moved to `working`; `smaller` changes its job."""
    from podium.kernel.rehearsal import rehearse

    script = working.parent / "kernel.py"
    script.write_text(version.request.text or "", encoding="utf-8")
    outcome = rehearse(
        script,
        dict(inputs),  # type: ignore[arg-type]
        working.parent / "rehearsal",
        time_limit=version.time_limit,
        job_changes=smaller,
        on_line=lambda line: version.tell(line.data, line.stream_name, line.time),
    )
    shutil.copytree(outcome.working, working, symlinks=True, dirs_exist_ok=True)
    return TIMED_OUT if outcome.timed_out else outcome.code, outcome.lines
