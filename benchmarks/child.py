"""One measurement in a process of its own: `python -m benchmarks.child JOB ANSWER`, two files of JSON.

A job names a function, `module:function`, and its arguments; its answer is what the function returned.
"""

import importlib
import json
import os
import sys
from pathlib import Path


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    if job["torch"]:
        sys.path.append(job["torch"])  # last: it lends torch and what only torch needs
    module, _, function = job["call"].partition(":")
    answer = getattr(importlib.import_module(module), function)(**job["arguments"])
    written = Path(sys.argv[2])
    written.write_text(json.dumps(answer))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # data sets that are not at their end keep threads that would be waited for


if __name__ == "__main__":
    main()
