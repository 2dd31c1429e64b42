"""`podium data download` against the stand-in: whole or not there, resumed, checked."""

import hashlib
import io
import subprocess
import sys
import zipfile

import pytest
from standin.faults import Fault

from podium.kaggle import connection

COMPETITION = """\
slug: cars
train: {table: train.csv, images: 'train/{id}'}
test: {images: 'test/{id}'}
classes: [red, blue]
metric: accuracy
"""


def zip_of(**files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for name, content in files.items():
            opened.writestr(zipfile.ZipInfo(name), content)
    return made.getvalue()


DATA = {
    "train.csv": b"Id,Category\n1.jpg,red\n",
    "sample-submission.csv": b"Id,Category\n2.jpg,red\n",
    "train.zip": zip_of(**{"train/1.jpg": b"not really an image" * 50}),
    "deep/er/notes with a space.txt": b"hello",
    "large.bin": bytes(range(256)) * 2000,
}


@pytest.fixture
def here(tmp_path, monkeypatch, standin):
    (tmp_path / "configs" / "competitions").mkdir(parents=True)
    (tmp_path / "configs" / "competitions" / "cars.yaml").write_text(COMPETITION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(connection, "READ_SECONDS", 0.5)
    standin.add_competition("cars", DATA)
    return tmp_path


def content_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_whole(folder):
    found = content_of(folder)
    listed = found.pop("checksums.sha256").decode()
    expected = {name: hashlib.sha256(content).hexdigest() for name, content in DATA.items()}
    assert listed == "".join(f"{expected[name]}  {name}\n" for name in sorted(DATA))
    assert found == DATA
    return True


def nothing_but(here, *names):
    assert {path.name for path in (here / "data").iterdir()} == {".cars.lock", *names}


SIZE = sum(map(len, DATA.values()))


def test_the_data_comes_whole_with_checksums_and_the_file_that_fits(podium, here, standin):
    code, out, err = podium("data", "download", "cars")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"cars: downloading 5 files, {SIZE / 1e3:.1f} kB",
        f"cars: unpacking {next(standin.folder.glob('*.zip')).stat().st_size / 1e3:.1f} kB",
        f"cars: checksums of 5 files, {SIZE / 1e3:.1f} kB",
        f"data/cars: 5 files, {SIZE / 1e3:.1f} kB, whole; checksums in data/cars/checksums.sha256",
        "its competition file: configs/competitions/cars.yaml",
    ]
    assert is_whole(here / "data" / "cars")
    nothing_but(here, "cars")


def test_sha256sum_reads_the_checksums(podium, here):
    podium("data", "download", "cars")
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "--strict", "checksums.sha256"],
        cwd=here / "data" / "cars", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_names_that_would_break_a_list_of_checksums_do_not(podium, here, standin):
    standin.add_competition("cars", {"back\\slash.txt": b"1", "a.txt": b"2"})
    assert podium("data", "download", "cars")[0] == 0
    assert podium("data", "download", "cars", "--verify")[0] == 0


def test_a_second_call_says_that_all_is_there_and_downloads_nothing(podium, here, standin):
    podium("data", "download", "cars")
    assert podium("data", "download", "cars") == (
        0,
        f"data/cars: all 5 files, {SIZE / 1e3:.1f} kB, there already\n"
        "its competition file: configs/competitions/cars.yaml\n",
        "",
    )
    assert standin.count("DownloadDataFiles") == 1


def test_another_folder_may_be_named_and_one_that_is_empty_is_filled(podium, here):
    (here / "disk" / "cars").mkdir(parents=True)
    assert podium("data", "download", "cars", "--data", "disk/cars")[0] == 0
    assert is_whole(here / "disk" / "cars")
    assert not (here / "data").exists()


def test_without_a_competition_file_it_says_so(podium, here, standin):
    standin.add_competition("boats", {"a.csv": b"1"})
    out = podium("data", "download", "boats")[1]
    assert out.splitlines()[-1] == (
        "no file in configs/competitions is for boats yet; copy one that is near and change it"
    )


# What is there already


def test_a_folder_that_lacks_files_or_has_others_is_told_and_left_alone(podium, here, standin):
    podium("data", "download", "cars")
    folder = here / "data" / "cars"
    (folder / "train.csv").unlink()
    (folder / "large.bin").write_bytes(b"short")
    before = content_of(folder)
    assert podium("data", "download", "cars") == (
        1,
        "",
        "podium: data/cars lacks 1 of Kaggle's 5 files (first: train.csv) and has 1 files of another size (first:"
        " large.bin); nothing was changed: move it away and run the same command to download it anew, or name another"
        " folder with --data\n",
    )
    assert content_of(folder) == before


def test_a_folder_that_a_person_filled_is_taken_and_listed(podium, here, standin):
    for name, content in DATA.items():
        path = here / "data" / "cars" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert podium("data", "download", "cars")[0] == 0
    assert is_whole(here / "data" / "cars")
    assert standin.count("DownloadDataFiles") == 0


def test_verify_finds_a_flipped_bit_that_the_size_does_not_show(podium, here):
    podium("data", "download", "cars")
    large = here / "data" / "cars" / "large.bin"
    content = bytearray(large.read_bytes())
    content[1000] ^= 1
    large.write_bytes(content)
    assert podium("data", "download", "cars")[0] == 0
    code, _, err = podium("data", "download", "cars", "--verify")
    assert code == 1
    assert err == (
        "podium: data/cars: 1 of 5 files are not what was downloaded (first: large.bin, changed); move the folder away"
        " and run the same command to download it anew\n"
    )


def test_verify_says_that_the_content_is_right(podium, here):
    podium("data", "download", "cars")
    out = podium("data", "download", "cars", "--verify")[1]
    assert "there already, and what they were" in out


# What Kaggle or the machine refuses


def test_rules_that_were_not_accepted_are_told_with_the_page(podium, here, standin):
    standin.competitions["cars"].rules_accepted = False
    code, _, err = podium("data", "download", "cars")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "open https://www.kaggle.com/competitions/cars/rules, accept them, and run the same command again" in err
    assert not (here / "data").exists()


def test_an_unknown_slug_is_told_with_the_nearest_known_one(podium, here):
    code, _, err = podium("data", "download", "carz")
    assert code == 1
    assert err.startswith("podium: Kaggle knows no competition 'carz'; did you mean 'cars'?")
    assert "the slug is the last part of" in podium("data", "download", "something-else-entirely")[2]


@pytest.mark.parametrize("slug", ["Cars", "https://www.kaggle.com/c/cars", "../cars", "a/b"])
def test_what_is_no_slug_is_wrong_usage(podium, here, standin, slug):
    assert podium("data", "download", slug)[0] == 2
    assert standin.calls == []


def test_too_little_room_is_told_before_anything_comes(podium, here, standin, monkeypatch):
    import shutil

    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=SIZE))
    code, _, err = podium("data", "download", "cars")
    assert code == 1
    assert (
        f"data/cars needs {2 * SIZE / 1e6:.1f} MB for the zip and what is in it, {SIZE / 1e3:.1f} kB more than" in err
    )
    assert standin.count("DownloadDataFiles") == 0
    assert not (here / "data" / "cars").exists()


def test_a_competition_without_data_is_told(podium, here, standin):
    standin.add_competition("empty", {})
    assert "Kaggle lists no data for empty" in podium("data", "download", "empty")[2]


def test_a_zip_that_would_write_outside_is_refused(podium, here, standin):
    standin.add_competition("cars", {"../outside.txt": b"1", "a.txt": b"2"})
    code, _, err = podium("data", "download", "cars")
    assert code == 1
    assert "holds a path that leaves the folder: ../outside.txt" in err
    assert not (here / "data" / "cars").exists()
    assert not list(here.rglob("outside.txt"))


def test_a_zip_that_lacks_what_kaggle_lists_does_not_become_the_data(podium, here, standin):
    lacking = {name: content for name, content in DATA.items() if name != "train.csv"}
    standin.when("DownloadDataFiles", lambda: standin.add_competition("cars", lacking))
    code, _, err = podium("data", "download", "cars")
    assert code == 1
    assert "the zip of cars lacks 1 of the 5 files that Kaggle lists (first: train.csv)" in err
    nothing_but(here)
    assert podium("data", "download", "cars")[0] == 0


# Breaks and kills


CALLS = ["ListDataFiles", "DownloadDataFiles", "data-zip"]
PASSING = {
    "429": Fault.status(429, retry_after=0),
    "500": Fault.status(500),
    "503": Fault.status(503),
    "reset": Fault.reset_before(),
    "reset midway": Fault.reset_midway(),
    "truncated": Fault.truncated(),
    "stall": Fault.stall(),
    "stall midway": Fault.stall_midway(),
}


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("call", CALLS)
def test_a_problem_that_passes_ends_in_a_retry(podium, here, standin, call, fault):
    standin.fail(call, PASSING[fault])
    code, _, err = podium("data", "download", "cars")
    assert (code, err) == (0, "")
    assert is_whole(here / "data" / "cars")
    nothing_but(here, "cars")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", [401, 403, 404, 500])
def test_a_problem_that_stays_is_one_line_and_the_same_command_goes_on(podium, here, standin, call, code):
    standin.fail(call, Fault.status(code), times=None)
    exit_code, _, err = podium("data", "download", "cars")
    assert exit_code == 1
    assert len(err.splitlines()) == 1
    assert not (here / "data" / "cars").exists()
    standin.heal()
    assert podium("data", "download", "cars")[0] == 0
    assert is_whole(here / "data" / "cars")
    nothing_but(here, "cars")


def test_a_malformed_list_is_asked_for_again(podium, here, standin):
    standin.fail("ListDataFiles", Fault.malformed())
    assert podium("data", "download", "cars")[0] == 0


def test_a_download_that_breaks_for_good_goes_on_where_it_was(podium, here, standin):
    content = bytes(range(256)) * 40_000
    standin.add_competition("cars", {"large.bin": content})
    # The client opens the address twice: where it was led, and then for what is missing.
    standin.fail("data-zip", Fault.reset_midway(), after=1)
    standin.fail("data-zip", Fault.status(500), times=None)
    assert podium("data", "download", "cars")[0] == 1
    assert not (here / "data" / "cars").exists()
    standin.heal()
    calls = len(standin.calls)
    assert podium("data", "download", "cars")[0] == 0
    ranges = [call.request.headers.get("Range") for call in standin.calls[calls:] if call.method == "data-zip"]
    begun = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in ranges if asked]
    assert len(begun) == 1
    assert 0 < begun[0] < len(content)
    assert (here / "data" / "cars" / "large.bin").read_bytes() == content


DYING = """
import os, sys, zipfile
from pathlib import Path
moment, *sys.argv[1:] = sys.argv[1:]

def after(number, function):
    def counted(*arguments, **options):
        counted.calls += 1
        if counted.calls > number:
            os._exit(9)
        return function(*arguments, **options)
    counted.calls = 0
    return counted

if moment == "unpacking":
    zipfile.ZipFile._extract_member = after(2, zipfile.ZipFile._extract_member)
elif moment == "unpacked":
    import podium.workflows.download as downloading
    downloading.write_checksums = after(0, downloading.write_checksums)
elif moment == "renamed":
    def renamed(path, target, rename=Path.rename):
        rename(path, target)
        if Path(target).name == "cars":
            os._exit(9)
    Path.rename = renamed
from podium.cli.main import app
app(sys.argv[1:])
"""


@pytest.mark.parametrize("moment", ["unpacking", "unpacked", "renamed"])
def test_killed_at_any_moment_nothing_half_is_seen_and_the_same_command_ends_well(podium, here, standin, moment):
    done = subprocess.run(
        [sys.executable, "-c", DYING, moment, "data", "download", "cars"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 9, done.stderr
    folder = here / "data" / "cars"
    assert is_whole(folder) if moment == "renamed" else not folder.exists()
    code, _, err = podium("data", "download", "cars")
    assert (code, err) == (0, "")
    assert standin.count("DownloadDataFiles") == 1
    assert is_whole(folder)
    nothing_but(here, "cars")


def test_a_damaged_zip_is_thrown_away_and_the_same_command_gets_it_anew(podium, here, standin):
    standin.add_competition("cars", DATA)
    coming = here / "data" / ".cars.coming"
    coming.mkdir(parents=True)
    (coming / "data.zip").write_bytes(b"PK\x03\x04 not a zip")
    code, _, err = podium("data", "download", "cars")
    assert code == 1
    assert "is not a whole zip" in err
    assert podium("data", "download", "cars")[0] == 0
    assert is_whole(here / "data" / "cars")


HOLD = """
import sys
from pathlib import Path
from podium.locks import locked
with locked(Path("data/cars")):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_downloads_of_one_competition_do_not_meet(podium, here, standin):
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        code, _, err = podium("data", "download", "cars")
        assert code == 1
        assert f"data/cars is in use by process {holder.pid} on" in err
        holder.communicate("")
    assert standin.count("DownloadDataFiles") == 0
