"""/proc and control groups are read from folders written by the tests."""

import pytest

from podium.hardware import cpu_name, free_memory, has_bfloat16, peak_memory

GB = 10**9


@pytest.fixture
def machine(tmp_path):
    """`machine(groups, files, available)`: folders for `free_memory`."""

    def made(groups="", files=None, available=20 * GB):
        (tmp_path / "proc" / "self").mkdir(parents=True)
        (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:  {available // 1024} kB\n")
        (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
        for name, content in (files or {}).items():
            path = tmp_path / "cgroups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
        return tmp_path / "proc", tmp_path / "cgroups"

    return made


def group(folder, limit, used, cache=0):
    names = ("memory.max", "memory.current") if not folder.startswith("memory") else (
        "memory.limit_in_bytes", "memory.usage_in_bytes"
    )  # fmt: skip
    stat = f"anon 1\ninactive_file {cache}\ntotal_inactive_file {cache}"
    values = zip((*names, "memory.stat"), (limit, used, stat), strict=True)
    return {f"{folder}/{name}".lstrip("/"): value for name, value in values}


def test_free_memory_without_a_limit_is_that_of_the_machine(machine):
    assert free_memory(*machine("0::/\n")) == 20 * GB // 1024 * 1024


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/a/b\n", group("a/b", 8 * GB, 3 * GB)),
        ("0::/a/b\n", group("a/b", "max", 3 * GB) | group("a", 8 * GB, 3 * GB)),
        ("0::/of/the/host\n", group("", 8 * GB, 3 * GB)),
        ("5:cpu:/a\n4:memory:/a\n0::/\n", group("memory/a", 8 * GB, 3 * GB)),
        ("4:memory:/of/the/host\n", group("memory", 8 * GB, 3 * GB)),
        ("4:memory:/a\n", group("memory/a", 8 * GB, 4 * GB, cache=GB) | group("memory", 2**63 - 4096, 0)),
    ],
    ids=["own", "parent", "mounted as the root", "v1", "v1 root", "cache is freed"],
)
def test_free_memory_is_limited_by_control_groups(groups, files, machine):
    assert free_memory(*machine(groups, files)) == 5 * GB


def test_group_above_its_limit_has_no_free_memory(machine):
    assert free_memory(*machine("0::/a\n", group("a", GB, 2 * GB))) == 0


def test_free_memory_is_unknown_without_proc(tmp_path):
    assert free_memory(tmp_path, tmp_path) is None
    assert not has_bfloat16(tmp_path)


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 sse2", True),
        ("flags\t\t: fpu amx_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16", True),
        ("flags\t\t: fpu avx2 avx512f", False),
    ],
)
def test_bfloat16_is_read_from_the_cpu_flags(line, has, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: Some\n{line}\n\nprocessor\t: 1\n")
    assert has_bfloat16(tmp_path) == has


def test_real_peak_memory_and_cpu_name():
    assert 10**6 < peak_memory() < 10**13
    assert cpu_name().endswith(" cores")
