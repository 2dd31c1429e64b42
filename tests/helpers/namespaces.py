"""What a rehearsal can isolate on this system."""

import shutil
import subprocess


def has_namespaces():
    command = ["unshare", "--user", "--map-root-user", "--mount", "--net", "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, check=False).returncode == 0
