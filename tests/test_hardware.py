"""What is read of /proc and of control groups, from folders of the same make."""

import pytest

from podium.hardware import free_memory, has_bfloat16, peak_memory, processor_name

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


def group(folder, limit, used, given_back=0):
    names = ("memory.max", "memory.current") if not folder.startswith("memory") else (
        "memory.limit_in_bytes", "memory.usage_in_bytes"
    )  # fmt: skip
    stat = f"anon 1\ninactive_file {given_back}\ntotal_inactive_file {given_back}"
    values = zip((*names, "memory.stat"), (limit, used, stat), strict=True)
    return {f"{folder}/{name}".lstrip("/"): value for name, value in values}


def test_without_a_limit_it_is_what_the_machine_has_free(machine):
    assert free_memory(*machine("0::/\n")) == 20 * GB // 1024 * 1024


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/a/b\n", group("a/b", 8 * GB, 3 * GB)),
        ("0::/a/b\n", group("a/b", "max", 3 * GB) | group("a", 8 * GB, 3 * GB)),
        ("0::/of/the/host\n", group("", 8 * GB, 3 * GB)),
        ("5:cpu:/a\n4:memory:/a\n0::/\n", group("memory/a", 8 * GB, 3 * GB)),
        ("4:memory:/of/the/host\n", group("memory", 8 * GB, 3 * GB)),
        ("4:memory:/a\n", group("memory/a", 8 * GB, 4 * GB, given_back=GB) | group("memory", 2**63 - 4096, 0)),
    ],
    ids=["own", "around", "mounted as the root", "first version", "its root", "cache is given back"],
)
def test_a_limit_of_a_control_group_counts(groups, files, machine):
    assert free_memory(*machine(groups, files)) == 5 * GB


def test_a_group_that_is_over_its_limit_has_nothing_free(machine):
    assert free_memory(*machine("0::/a\n", group("a", GB, 2 * GB))) == 0


def test_where_nothing_tells_it_is_none(tmp_path):
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
def test_the_first_processor_says_whether_it_multiplies_in_bfloat16(line, has, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: Some\n{line}\n\nprocessor\t: 1\n")
    assert has_bfloat16(tmp_path) == has


def test_this_process_has_taken_some_memory_and_the_processor_has_a_name():
    assert 10**6 < peak_memory() < 10**13
    assert processor_name().endswith(" processors")
