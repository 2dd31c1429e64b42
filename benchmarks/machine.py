"""The machine and the versions of the libraries, for the report."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

LIBRARIES = ("tensorflow", "keras", "albumentations", "opencv-python-headless", "numpy", "pandas", "torch", "kaggle")


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_environment(torch: Path | None, libraries: Sequence[str] = LIBRARIES) -> dict[str, str]:
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": f"{_processor()}, {cores()} cores",
        "memory": f"{_memory_gb():.0f} GB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load before": f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown",
        **{name: _version(name, torch) for name in libraries},
    }


def _version(name: str, torch: Path | None) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        places = [str(torch)] if torch else []
        found = next(iter(metadata.distributions(name=name, path=places)), None)
        return found.version if found else "not installed"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gb() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, OSError, AttributeError):
        return float("nan")
