"""What this machine has that decides how to train on it: memory, and processors that compute in bfloat16."""

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
LIMITS = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Of control groups in their second version and in their first: the controller's folder, the limit, the use, and of
that the part that the kernel gives back when it has to."""
IN_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""What /proc/cpuinfo says of processors that multiply so: x86's flags, and that of ARM."""


def free_memory(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """Bytes that a new process may take: what the machine has free, or less where its control group is limited.

    Containers and kernels have such limits, and a process that passes one is killed. None where nothing tells.
    """
    free = [*_free_in_groups(proc, cgroups)]
    with suppress(OSError, ValueError):
        lines = (proc / "meminfo").read_text().splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return max(0, min(free)) if free else None


def _free_in_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """What is left in each control group that this process is in, and in those around it."""
    with suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller, limit, used, given_back in LIMITS:
                if controller != controllers and controller not in controllers.split(","):
                    continue
                root = cgroups / controller
                inner = root / path.lstrip("/")
                # In a container the path is that of the host, and the group itself is mounted as the root.
                for folder in (inner, *inner.parents):
                    with suppress(OSError, ValueError, StopIteration):
                        kept = int((folder / limit).read_text()) - int((folder / used).read_text())
                        lines = (folder / "memory.stat").read_text().splitlines()
                        yield kept + next(int(one.split()[1]) for one in lines if one.split()[0] == given_back)
                    if folder == root:
                        break


def peak_memory() -> int:
    """The most bytes that this process has held so far."""
    with suppress(OSError):  # getrusage would count what the process held that started this one
        for line in (PROC / "self" / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else 1024 * peak


def go_first() -> None:
    """Should memory run out all the same, the system ends this process and no other."""
    with suppress(OSError):
        (PROC / "self" / "oom_score_adj").write_text("1000")


def processor(proc: Path = PROC) -> dict[str, str]:
    """What is said of the first processor: `model name`, `flags`, …"""
    with suppress(OSError):
        first = (proc / "cpuinfo").read_text().split("\n\n")[0]
        pairs = (line.partition(":") for line in first.splitlines())
        return {key.strip(): value.strip() for key, _, value in pairs}
    return {}


def processor_name() -> str:
    """With how many of them: what was measured on two says little of sixteen."""
    about = processor()
    family = " ".join(about.get(key, "") for key in ("cpu family", "model", "stepping") if key in about)
    name = about.get("model name") or platform.processor() or platform.machine()
    return f"{name} ({family}), {os.cpu_count()} processors" if family else f"{name}, {os.cpu_count()} processors"


def has_bfloat16(proc: Path = PROC) -> bool:
    """Do the processors multiply in bfloat16 themselves? Where they do not, it is many times slower."""
    about = processor(proc)
    return bool(IN_BFLOAT16 & {*about.get("flags", "").split(), *about.get("Features", "").split()})
