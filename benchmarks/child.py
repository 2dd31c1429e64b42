"""One measurement in its own process: `python -m benchmarks.child JOB RESULT`, both JSON files.

A job is a function, `module:function`, and its arguments; the result is what the function returns.
"""

import importlib
import json
import os
import sys
from pathlib import Path


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    if job["torch"]:
        sys.path.append(job["torch"])  # last, so that only torch and its own dependencies come from there
    module, _, function = job["call"].partition(":")
    result = getattr(importlib.import_module(module), function)(**job["arguments"])
    target = Path(sys.argv[2])
    target.write_text(json.dumps(result))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # without waiting for the threads of unfinished datasets


if __name__ == "__main__":
    main()
