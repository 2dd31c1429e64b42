"""`podium data download` against the stand-in: complete or not there, resumed, checked."""

import hashlib
import io
import signal
import subprocess
import sys
import zipfile

import pytest
from standin.faults import Fault

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
    standin.add_competition("cars", DATA)
    return tmp_path


def content_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_complete(folder):
    found = content_of(folder)
    listed = found.pop("checksums.sha256").decode()
    expected = {name: hashlib.sha256(content).hexdigest() for name, content in DATA.items()}
    assert listed == "".join(f"{expected[name]}  {name}\n" for name in sorted(DATA))
    assert found == DATA
    return True


def only(here, *names):
    assert {path.name for path in (here / "data").iterdir()} == {".cars.lock", *names}


SIZE = sum(map(len, DATA.values()))


def test_the_data_is_downloaded_with_checksums_and_the_competition_file_named(podium, here, standin):
    code, out, err = podium("data", "download", "cars")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"cars: downloading 5 files, {SIZE / 1e3:.1f} kB",
        f"cars: unpacking {next(standin.folder.glob('*.zip')).stat().st_size / 1e3:.1f} kB",
        f"cars: checksums of 5 files, {SIZE / 1e3:.1f} kB",
        f"data/cars: 5 files, {SIZE / 1e3:.1f} kB, complete; checksums in data/cars/checksums.sha256",
        "competition file: configs/competitions/cars.yaml",
    ]
    assert is_complete(here / "data" / "cars")
    only(here, "cars")


def test_sha256sum_accepts_the_checksums(podium, here):
    podium("data", "download", "cars")
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "--strict", "checksums.sha256"],
        cwd=here / "data" / "cars", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_names_with_special_characters_have_checksums(podium, here, standin):
    standin.add_competition("cars", {"back\\slash.txt": b"1", "a.txt": b"2"})
    assert podium("data", "download", "cars")[0] == 0
    assert podium("data", "download", "cars", "--verify")[0] == 0


def test_a_second_call_downloads_nothing(podium, here, standin):
    podium("data", "download", "cars")
    assert podium("data", "download", "cars") == (
        0,
        f"data/cars: all 5 files, {SIZE / 1e3:.1f} kB exist already\n"
        "competition file: configs/competitions/cars.yaml\n",
        "",
    )
    assert standin.count("DownloadDataFiles") == 1


def test_another_empty_folder_can_be_used(podium, here):
    (here / "disk" / "cars").mkdir(parents=True)
    assert podium("data", "download", "cars", "--data", "disk/cars")[0] == 0
    assert is_complete(here / "disk" / "cars")
    assert not (here / "data").exists()


def test_a_missing_competition_file_is_mentioned(podium, here, standin):
    standin.add_competition("boats", {"a.csv": b"1"})
    out = podium("data", "download", "boats")[1]
    assert out.splitlines()[-1] == (
        "no competition file in configs/competitions for boats; copy a similar file and edit it"
    )


# Data that exists already


def test_a_folder_with_missing_or_different_files_is_an_error_and_unchanged(podium, here, standin):
    podium("data", "download", "cars")
    folder = here / "data" / "cars"
    (folder / "train.csv").unlink()
    (folder / "large.bin").write_bytes(b"short")
    before = content_of(folder)
    assert podium("data", "download", "cars") == (
        1,
        "",
        "podium: data/cars lacks 1 of Kaggle's 5 files (first: train.csv) and has 1 files of another size (first:"
        " large.bin); nothing was changed: move it away and run the same command to download it again, or use another"
        " folder with --data\n",
    )
    assert content_of(folder) == before


def test_a_folder_filled_by_hand_gets_checksums(podium, here, standin):
    for name, content in DATA.items():
        path = here / "data" / "cars" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert podium("data", "download", "cars")[0] == 0
    assert is_complete(here / "data" / "cars")
    assert standin.count("DownloadDataFiles") == 0


def test_verify_finds_a_flipped_bit(podium, here):
    podium("data", "download", "cars")
    large = here / "data" / "cars" / "large.bin"
    content = bytearray(large.read_bytes())
    content[1000] ^= 1
    large.write_bytes(content)
    assert podium("data", "download", "cars")[0] == 0
    code, _, err = podium("data", "download", "cars", "--verify")
    assert code == 1
    assert err == (
        "podium: data/cars: 1 of 5 files differ from the download (first: large.bin); move the folder away"
        " and run the same command to download it again\n"
    )


def test_verify_confirms_unchanged_files(podium, here):
    podium("data", "download", "cars")
    out = podium("data", "download", "cars", "--verify")[1]
    assert "exist already, with the same checksums" in out


# A list of files that is partial


@pytest.mark.parametrize("listed", [0, 2])
def test_a_partial_list_of_files_is_noticed_and_everything_downloaded(podium, here, standin, listed):
    standin.reported.listed_files = listed
    code, out, err = podium("data", "download", "cars")
    assert (code, err) == (0, "")
    assert f"note: Kaggle lists only {listed} of the 5 files of cars; all are in its zip\n" in out
    assert f"data/cars: 5 files, {SIZE / 1e3:.1f} kB, complete" in out
    assert is_complete(here / "data" / "cars")


def test_a_file_that_is_missing_is_noticed_with_a_partial_list_too(podium, here, standin):
    podium("data", "download", "cars")
    standin.reported.listed_files = 2
    assert f"data/cars: all 5 files, {SIZE / 1e3:.1f} kB exist already" in podium("data", "download", "cars").out
    (here / "data" / "cars" / "train.zip").unlink()
    error = podium("data", "download", "cars").err
    assert error.startswith("podium: data/cars lacks 1 of Kaggle's 5 files (first: train.zip); nothing was changed")


# Refusals


def test_rules_that_are_not_accepted_are_named_with_their_page(podium, here, standin):
    standin.competitions["cars"].rules_accepted = False
    code, _, err = podium("data", "download", "cars")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "accept its rules at https://www.kaggle.com/competitions/cars/rules, and run the same command again" in err
    assert not (here / "data").exists()


def test_an_unknown_slug_is_reported_with_the_nearest_known_one(podium, here, standin):
    code, _, err = podium("data", "download", "carz")
    assert code == 1
    assert err == "podium: there is no competition 'carz' on Kaggle that you can see; did you mean cars?\n"
    standin.reported.unknown_is_forbidden = True
    assert podium("data", "download", "carz").err == err
    assert "the slug is the last part of" in podium("data", "download", "something-else-entirely")[2]


@pytest.mark.parametrize("slug", ["Cars", "https://www.kaggle.com/c/cars", "../cars", "a/b"])
def test_an_invalid_slug_is_wrong_usage(podium, here, standin, slug):
    assert podium("data", "download", slug)[0] == 2
    assert standin.calls == []


def test_too_little_disk_space_is_reported_before_the_download(podium, here, standin, monkeypatch):
    import shutil

    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=SIZE))
    code, _, err = podium("data", "download", "cars")
    assert code == 1
    assert f"data/cars needs {2 * SIZE / 1e6:.1f} MB for the zip and its content, {SIZE / 1e3:.1f} kB more than" in err
    assert standin.count("DownloadDataFiles") == 0
    assert not (here / "data" / "cars").exists()


def test_a_competition_without_data_is_an_error(podium, here, standin):
    standin.add_competition("empty", {})
    assert "Kaggle has no data for empty: its zip is empty" in podium("data", "download", "empty")[2]


def test_a_zip_that_would_write_outside_is_refused(podium, here, standin):
    standin.add_competition("cars", {"../outside.txt": b"1", "a.txt": b"2"})
    code, _, err = podium("data", "download", "cars")
    assert code == 1
    assert "contains a path outside the folder: ../outside.txt" in err
    assert not (here / "data" / "cars").exists()
    assert not list(here.rglob("outside.txt"))


def test_an_incomplete_zip_is_removed(podium, here, standin):
    incomplete = {name: content for name, content in DATA.items() if name != "train.csv"}
    standin.when("DownloadDataFiles", lambda: standin.add_competition("cars", incomplete))
    code, _, err = podium("data", "download", "cars")
    assert code == 1
    assert "the zip of cars lacks 1 of the 5 files that Kaggle lists (first: train.csv)" in err
    only(here)
    assert podium("data", "download", "cars")[0] == 0


# Interruptions


CALLS = ["ListDataFiles", "DownloadDataFiles", "data-zip"]


@pytest.mark.parametrize("call", CALLS)
def test_a_temporary_failure_is_retried(podium, here, standin, call):
    standin.fail(call, Fault.reset_midway())
    code, _, err = podium("data", "download", "cars")
    assert (code, err) == (0, "")
    assert is_complete(here / "data" / "cars")
    only(here, "cars")


@pytest.mark.parametrize(("call", "code"), [("ListDataFiles", 401), ("DownloadDataFiles", 404), ("data-zip", 500)])
def test_a_permanent_failure_is_one_line_and_the_same_command_resumes(podium, here, standin, call, code):
    standin.fail(call, Fault.status(code), times=None)
    exit_code, _, err = podium("data", "download", "cars")
    assert exit_code == 1
    assert len(err.splitlines()) == 1
    assert not (here / "data" / "cars").exists()
    standin.heal()
    assert podium("data", "download", "cars")[0] == 0
    assert is_complete(here / "data" / "cars")
    only(here, "cars")


def test_a_malformed_list_is_retried(podium, here, standin):
    standin.fail("ListDataFiles", Fault.malformed())
    assert podium("data", "download", "cars")[0] == 0


def test_an_interrupted_download_is_resumed(podium, here, standin):
    content = bytes(range(256)) * 40_000
    standin.add_competition("cars", {"large.bin": content})
    # The zip is requested twice: by following the redirect, and then for its bytes.
    standin.fail("data-zip", Fault.reset_midway(), after=1)
    standin.fail("data-zip", Fault.status(500), times=None)
    assert podium("data", "download", "cars")[0] == 1
    assert not (here / "data" / "cars").exists()
    standin.heal()
    calls = len(standin.calls)
    assert podium("data", "download", "cars")[0] == 0
    ranges = [call.request.headers.get("Range") for call in standin.calls[calls:] if call.method == "data-zip"]
    starts = [int(range_.removeprefix("bytes=").removesuffix("-")) for range_ in ranges if range_]
    assert len(starts) == 1
    assert 0 < starts[0] < len(content)
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


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["unpacking", "unpacked", "renamed"])
def test_after_a_kill_at_any_moment_the_same_command_completes_the_data(podium, here, standin, moment):
    done = subprocess.run(
        [sys.executable, "-c", DYING, moment, "data", "download", "cars"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 9, done.stderr
    folder = here / "data" / "cars"
    assert is_complete(folder) if moment == "renamed" else not folder.exists()
    code, _, err = podium("data", "download", "cars")
    assert (code, err) == (0, "")
    assert standin.count("DownloadDataFiles") == 1
    assert is_complete(folder)
    only(here, "cars")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_download_that_hangs(podium, here, standin, number):
    standin.fail("data-zip", Fault.stall(), times=None)
    command = [sys.executable, "-m", "podium", "data", "download", "cars"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        standin.when("data-zip", lambda: process.send_signal(number))
        _, err = process.communicate()
    assert process.returncode == 75
    assert number.name in err
    assert len(err.splitlines()) == 1
    assert standin.count("data-zip") == 1
    standin.heal()
    assert podium("data", "download", "cars")[0] == 0


def test_a_damaged_zip_is_deleted_and_downloaded_again(podium, here, standin):
    standin.add_competition("cars", DATA)
    folder = here / "data" / ".cars.downloading"
    folder.mkdir(parents=True)
    (folder / "data.zip").write_bytes(b"PK\x03\x04 not a zip")
    code, _, err = podium("data", "download", "cars")
    assert code == 1
    assert "is not a complete zip" in err
    assert podium("data", "download", "cars")[0] == 0
    assert is_complete(here / "data" / "cars")


HOLD = """
import sys
from pathlib import Path
from podium.locks import locked
with locked(Path("data/cars")):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_downloads_of_one_competition_are_refused(podium, here, standin):
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        code, _, err = podium("data", "download", "cars")
        assert code == 1
        assert f"data/cars is in use by process {holder.pid} on" in err
        holder.communicate("")
    assert standin.count("DownloadDataFiles") == 0
