"""The accelerators that a kernel may ask for, and its message if it gets another one."""

import pytest

from podium.errors import ConfigError
from podium.kernel.accelerators import machine_shape, mismatch


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("none", ""),
        ("t4", "NvidiaTeslaT4"),
        ("L4", "NvidiaL4"),
        ("a100", "NvidiaTeslaA100"),
        ("h100", "NvidiaH100"),
        ("nvidiateslat4", "NvidiaTeslaT4"),
        ("NvidiaRtxPro6000", "NvidiaRtxPro6000"),
        ("SomeFutureGpu", "SomeFutureGpu"),
    ],
)
def test_short_and_own_names_of_machines(name, shape):
    assert machine_shape(name) == shape


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("p100", r"Kaggle has retired NvidiaTeslaP100 .*: use NvidiaTeslaT4 \(--gpu t4\)"),
        ("nvidiateslap100", "Kaggle has retired NvidiaTeslaP100"),
        ("tpu-v3-8", r"Kaggle has retired Tpu1VmV38 .*: use NvidiaTeslaT4 \(--gpu t4\)"),
        ("TpuV38", "Kaggle has retired TpuV38"),
        ("tpu-v5e8", "pushed kernels get no TPU: Kaggle accepts TpuV5E8, but runs the kernel in the image without TPU"),
        ("TpuV6E8", "pushed kernels get no TPU"),
        ("h10", "unknown accelerator 'h10'; did you mean 'h100'"),
        ("a b", "unknown accelerator 'a b'"),
    ],
)
def test_machines_that_kernels_do_not_get_are_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        machine_shape(name)


@pytest.mark.parametrize(
    ("shape", "gpus"),
    [
        ("", []),
        ("", ["Tesla T4"]),
        ("NvidiaTeslaT4", ["Tesla T4", "Tesla T4"]),
        ("NvidiaTeslaT4Highmem", ["Tesla T4"]),
        ("NvidiaL4X1", ["NVIDIA L4"]),
        ("NvidiaTeslaA100", ["NVIDIA A100-SXM4-40GB"]),
        ("NvidiaH100", ["NVIDIA H100 80GB HBM3"]),
        ("NvidiaRtxPro6000", ["NVIDIA RTX PRO 6000 Blackwell Server Edition"]),
    ],
)
def test_gpu_that_was_asked_for(shape, gpus):
    assert mismatch(shape, gpus) == ""


@pytest.mark.parametrize(
    ("shape", "gpus", "message"),
    [
        ("NvidiaTeslaT4", ["Tesla P100-PCIE-16GB"], "asked for NvidiaTeslaT4, but got Tesla P100-PCIE-16GB"),
        ("NvidiaL4", ["NVIDIA L40S"], "asked for NvidiaL4, but got NVIDIA L40S"),
        ("NvidiaL4", [], "asked for NvidiaL4, but its session has no GPU that TensorFlow can use"),
    ],
)
def test_another_gpu_is_reported(shape, gpus, message):
    assert message in mismatch(shape, gpus)
