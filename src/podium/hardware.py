"""The hardware of this machine: free memory, the CPU and its bfloat16 support, the number of workers."""

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from podium.errors import MachineError

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
CGROUP_FILES = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Of control groups v2 and v1: the controller, the files with the limit and the usage, and the key in memory.stat of
the cache that the kernel frees when needed."""
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""In /proc/cpuinfo, of x86 and of ARM."""


def free_memory(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """Bytes that a new process can allocate before it is killed; None if unknown.

    In a container the limit of its control group may be lower than the machine's free memory.
    """
    free = [*_free_in_cgroups(proc, cgroups)]
    with suppress(OSError, ValueError):
        lines = (proc / "meminfo").read_text().splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return max(0, min(free)) if free else None


def _free_in_cgroups(proc: Path, cgroups: Path) -> Iterator[int]:
    """The free memory of each control group of this process, and of the groups that contain it."""
    with suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller, limit, usage, cache in CGROUP_FILES:
                if controller != controllers and controller not in controllers.split(","):
                    continue
                root = cgroups / controller
                own = root / path.lstrip("/")
                # In a container the path is the host's, and the group itself is mounted as the root.
                for folder in (own, *own.parents):
                    with suppress(OSError, ValueError, StopIteration):
                        free = int((folder / limit).read_text()) - int((folder / usage).read_text())
                        statistics = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
                        yield free + next(int(value) for key, value in statistics if key == cache)
                    if folder == root:
                        break


def peak_memory() -> int:
    """The peak memory of this process so far, in bytes."""
    with suppress(OSError):  # getrusage would include the memory of the parent process before exec
        for line in (PROC / "self" / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else 1024 * peak


def prefer_as_oom_victim() -> None:
    """Make Linux kill this process first if memory runs out."""
    with suppress(OSError):
        (PROC / "self" / "oom_score_adj").write_text("1000")


def _cpu_info(proc: Path = PROC) -> dict[str, str]:
    """The entries of /proc/cpuinfo for the first core: `model name`, `flags`, …"""
    with suppress(OSError):
        first = (proc / "cpuinfo").read_text().split("\n\n")[0]
        pairs = (line.partition(":") for line in first.splitlines())
        return {key.strip(): value.strip() for key, _, value in pairs}
    return {}


def cpu_name() -> str:
    """The model and the number of cores."""
    info = _cpu_info()
    family = " ".join(info[key] for key in ("cpu family", "model", "stepping") if key in info)
    name = info.get("model name") or platform.processor() or platform.machine()
    return f"{name}{f' ({family})' if family else ''}, {os.cpu_count()} cores"


def has_bfloat16(proc: Path = PROC) -> bool:
    """Whether the CPU multiplies in bfloat16; otherwise that is emulated and many times slower than float32."""
    info = _cpu_info(proc)
    return not BFLOAT16_FLAGS.isdisjoint((*info.get("flags", "").split(), *info.get("Features", "").split()))


def worker_count() -> int:
    """The number of processes or threads that prepare images: PODIUM_WORKERS, else one per CPU core available here."""
    named = os.environ.get("PODIUM_WORKERS")
    if named:
        if not named.isdecimal() or int(named) == 0:
            raise MachineError(f"PODIUM_WORKERS: expected a whole number of 1 or more, got {named!r}")
        return int(named)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
