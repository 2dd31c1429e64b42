"""The accelerators that a kernel may ask for, and whether it got the one it asked for.

Kaggle replaces an accelerator that is retired, or that the account may not use, by another one without a message.
"""

import re
from collections.abc import Sequence

from podium.config.problems import nearest
from podium.errors import ConfigError

ALIASES = {
    "none": "", "t4": "NvidiaTeslaT4", "l4": "NvidiaL4", "a100": "NvidiaTeslaA100", "h100": "NvidiaH100",
    "p100": "NvidiaTeslaP100", "tpu-v3-8": "Tpu1VmV38", "tpu-v5e8": "TpuV5E8",
}  # fmt: skip
"""Short names of Kaggle's machine shapes."""
RETIRED = ("NvidiaTeslaP100", "TpuV38", "Tpu1VmV38", "TpuV232", "TpuV2256")
_SHAPE = re.compile(r"[A-Z][A-Za-z0-9]*")
_SHAPE_PARTS = re.compile(r"^(Nvidia)?(Tesla)?|(Highmem|X\d+)$")
"""What is not part of a GPU's own name in the name of a shape: NvidiaTeslaT4Highmem, NvidiaL4X1."""


def machine_shape(name: str) -> str:
    """Kaggle's name of a machine, from that name or a short one; empty for a machine without accelerator."""
    names = ALIASES | {shape.lower(): shape for shape in ALIASES.values()}
    shape = names.get(name.lower(), name)
    if shape and not _SHAPE.fullmatch(shape):
        usable = [alias for alias in ALIASES if not refusal(ALIASES[alias])]
        raise ConfigError(
            f"unknown accelerator {name!r}{nearest(name, usable)}; Kaggle's own names of machines are accepted too,"
            " such as NvidiaRtxPro6000"
        )
    if reason := refusal(shape):
        raise ConfigError(reason)
    return shape


def refusal(shape: str) -> str:
    """Why a kernel cannot use this machine, and what to use instead; empty if it can."""
    if shape.lower() in (retired.lower() for retired in RETIRED):
        return (
            f"Kaggle has retired {shape} and runs the kernel on another machine instead: use NvidiaTeslaT4 (--gpu t4)"
        )
    if shape.lower().startswith("tpu"):
        return (
            f"pushed kernels get no TPU: Kaggle accepts {shape}, but runs the kernel in the image without TPU support"
            " (issue 1197 of its client): use NvidiaTeslaT4 (--gpu t4)"
        )
    return ""


def mismatch(shape: str, gpus: Sequence[str]) -> str:
    """What is wrong if a kernel that asked for `shape` has GPUs with these names; empty if it got what it asked for."""
    if not shape or any(_is_called(gpu, _SHAPE_PARTS.sub("", shape).lower()) for gpu in gpus):
        return ""
    if not gpus:
        return (
            f"this kernel asked for {shape}, but its session has no GPU that TensorFlow can use: check that your phone"
            " number is verified and GPU hours are left, then push it again, or use --gpu none"
        )
    return (
        f"this kernel asked for {shape}, but got {', '.join(gpus)}: Kaggle replaces an accelerator that your account or"
        " this competition may not use; push it again with --gpu t4"
    )


def _is_called(gpu: str, name: str) -> bool:
    """Whether `name` is one or several words of a GPU's name, such as `Tesla T4` or `NVIDIA RTX PRO 6000`."""
    words = re.findall(r"[a-z0-9]+", gpu.lower())
    return any("".join(words[start:end]) == name for end in range(len(words) + 1) for start in range(end))
