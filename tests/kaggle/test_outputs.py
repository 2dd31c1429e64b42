"""Downloading a kernel's output: complete, of one version, inside the folder, and no file twice."""

import io
import json
import os
import signal
import threading
from pathlib import Path

import pytest
from rich.console import Console
from standin.faults import Fault

from podium import retries
from podium.config.kaggle_names import KernelRef
from podium.errors import IncompleteOutputError, KaggleError, NotFoundError, RunError, UnreachableError
from podium.kaggle.client import sign_in
from podium.kaggle.outputs import AT_ONCE, LOOKS, NOTE, check_names, pull, with_version
from podium.kaggle.responses import KernelStatus, OutputFile
from podium.kernel.report import REPORT
from podium.locks import locked
from podium.signals import Interrupted, interruptible

REF = KernelRef("ada", "some-kernel", 1)
LARGE = bytes(range(256)) * 2048
FILES = {"a.txt": b"a", "runs/one/model.bin": LARGE, "runs/one/history.csv": b"epoch,loss\n"}


@pytest.fixture
def kaggle(standin, monkeypatch):
    monkeypatch.setattr(retries, "sleep", lambda seconds: None)
    standin.add_kernel(REF.name, FILES)
    standin.version(REF).tell("the last words\n")
    return sign_in()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "output"


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=160, highlight=False)


def content_of(folder):
    """All files but podium's note."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != NOTE]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


COMPLETE = FILES | {"some-kernel.log": b"the last words\n"}


def downloads(standin):
    return [call.request.path.rsplit("/", 1)[1] for call in standin.calls if call.method == "output-file"]


def set_output(standin, files):
    standin.version(REF).files = dict(files)


def push_another(standin):
    """Version 2, which is queued."""
    with standin.changed:
        return standin.new_version(standin.kernels["ada", "some-kernel"], standin.version(REF).request, [])


def test_every_file_and_the_log_are_downloaded(kaggle, folder, console):
    paths = pull(kaggle, REF, folder, console)
    assert content_of(folder) == COMPLETE
    assert {path.relative_to(folder).as_posix() for path in paths} == set(COMPLETE)
    output = console.file.getvalue()
    assert "  runs/one/model.bin: 524,288 bytes\n" in output
    assert output.splitlines()[-1].startswith(f"{REF}: 3 files, ")


def test_the_note_has_the_version_and_the_complete_files(kaggle, folder, console):
    pull(kaggle, REF, folder, console)
    note = json.loads((folder / NOTE).read_text())
    assert note["kernel"] == "ada/some-kernel/1"
    assert {name: one["size"] for name, one in note["files"].items()} == {
        name: len(data) for name, data in FILES.items()
    }


# One version


def test_without_a_version_all_requests_use_the_newest(kaggle, standin, folder, console):
    standin.when("GetKernelSessionStatus", lambda: push_another(standin))
    pull(kaggle, KernelRef("ada", "some-kernel"), folder, console)
    assert content_of(folder) == COMPLETE
    asked = {call.request.version_label for call in standin.calls if "Session" in call.method or "Files" in call.method}
    assert asked == {"v1"}


def test_an_unknown_kernel_is_one_line(kaggle, folder, console, one_line):
    with pytest.raises(KaggleError, match="there is no kernel ada/nothing on Kaggle") as error:
        with_version(kaggle, KernelRef("ada", "nothing"))
    assert one_line(error)


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_version_that_is_not_finished_is_an_error(state, kaggle, standin, folder, console, one_line):
    standin.version(REF).state = state
    with pytest.raises(
        KaggleError, match=f"is {state}, not finished; podium kernel logs -f ada/some-kernel/1"
    ) as error:
        pull(kaggle, REF, folder, console)
    assert one_line(error)
    assert not folder.exists()


def test_a_failed_version_shows_the_end_of_its_log_and_is_downloaded_on_request(kaggle, standin, folder, console):
    for number in range(30):
        standin.version(REF).tell(f"line {number}\n")
    standin.finish(REF, FILES, state="error", failure="out of memory")
    with pytest.raises(KaggleError, match="ended with status error") as error:
        pull(kaggle, REF, folder, console)
    first, *last = str(error.value).splitlines()
    assert "out of memory" in first
    assert "--even-failed" in first
    assert last == [f"  line {number}" for number in range(15, 30)]
    assert not folder.exists()
    pull(kaggle, REF, folder, console, even_failed=True)
    assert content_of(folder).keys() == COMPLETE.keys()


# Names


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "../a", "a/../../b", "..", ".", "", "a//b", "a/", "./a", "a/./b", "C:a", "C:/a", "c:\\a", "a\\b",
        "\\\\server\\a", "..\\a", "a\0b", "\ud800",
    ],
)  # fmt: skip
def test_a_name_outside_of_the_folder_is_refused(name, tmp_path, one_line):
    with pytest.raises(KaggleError, match="outside of its folder") as error:
        check_names(["good.txt", name], tmp_path)
    assert one_line(error).isascii()


@pytest.mark.parametrize(
    ("name", "other"),
    [("a.txt", "a.txt"), ("a.txt", "A.TXT"), ("straße", "STRASSE"), ("a", "a/b"), ("a/b", "a"), ("A/b/c", "a/B")],
)
def test_names_that_collide_are_refused(name, other, tmp_path, one_line):
    with pytest.raises(KaggleError, match="cannot both exist on this system") as error:
        check_names([name, other], tmp_path)
    assert one_line(error)


def test_similar_names_are_accepted(tmp_path):
    check_names(["a/b", "a/c", "a.b", "d/a/b", "...", "..a", "a b", "ä"], tmp_path)


def test_thousands_of_names_are_checked(tmp_path):
    check_names([f"images/{number}.jpg" for number in range(5000)], tmp_path)


@pytest.mark.parametrize("name", ["../escaped.txt", "some-kernel.log", NOTE, ".PODIUM-PULL.JSON", "a/.partial-b"])
def test_a_pull_with_a_refused_name_writes_nothing(name, kaggle, standin, folder, console, one_line):
    set_output(standin, {"good.txt": b"good", name: b"bad"})
    with pytest.raises(KaggleError, match="nothing was downloaded") as error:
        pull(kaggle, REF, folder, console)
    assert one_line(error)
    assert not folder.exists()
    assert downloads(standin) == []


@pytest.mark.parametrize(
    ("link", "target", "name"),
    [
        ("link", ".", "link/a.txt"),
        ("link", ".", "link/deeper/a.txt"),
        ("a/link", ".", "a/link/b/c.txt"),
        ("link", "not/there", "link/a.txt"),
    ],
)
def test_a_link_out_of_the_folder_is_refused(link, target, name, kaggle, standin, folder, console, tmp_path, one_line):
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / link).parent.mkdir(parents=True)
    (folder / link).symlink_to(outside / target)
    set_output(standin, {name: b"escaped"})
    with pytest.raises(KaggleError, match="is reached through a link that leaves") as error:
        pull(kaggle, REF, folder, console)
    assert one_line(error)
    assert list(outside.iterdir()) == []


def test_a_link_instead_of_a_file_is_refused(kaggle, folder, console, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    folder.mkdir()
    (folder / "a.txt").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(KaggleError, match="is reached through a link that leaves"):
        pull(kaggle, REF, folder, console)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_folder_instead_of_a_file_is_an_error(kaggle, folder, console, one_line):
    (folder / "a.txt").mkdir(parents=True)
    with pytest.raises(KaggleError, match="is a folder, but a file in the kernel's output") as error:
        pull(kaggle, REF, folder, console)
    assert one_line(error)


def test_names_are_printed_without_control_characters(kaggle, standin, folder, console):
    set_output(standin, {"a[/b].txt": LARGE, "[red]b.txt": LARGE, "clear\x1b[2J.txt": LARGE})
    pull(kaggle, REF, folder, console)
    output = console.file.getvalue()
    assert f"a[/b].txt: {len(LARGE):,} bytes" in output
    assert f"[red]b.txt: {len(LARGE):,} bytes" in output
    assert f"'clear\\x1b[2J.txt': {len(LARGE):,} bytes" in output
    assert "\x1b" not in output


# Output that Kaggle lists late, or in part


RUN = {"runs/one/best.weights.h5": LARGE, "runs/one/state.json": b"{}"}
REPORTED = {REPORT: json.dumps({"status": "done", "files": {name: len(data) for name, data in RUN.items()}}).encode()}


@pytest.fixture
def podium_kernel(kaggle, standin):
    """A kernel of podium with a run and its report."""
    standin.add_kernel(REF.name, RUN | REPORTED, source="from podium.kernel_main import run_job\n")
    return kaggle


@pytest.mark.parametrize(("late", "partial"), [(2, 0), (0, 2), (1, 3)])
def test_output_that_is_listed_late_or_in_part_is_looked_at_again(
    late, partial, podium_kernel, standin, folder, console
):
    standin.reported.late_listings, standin.reported.partial_listings = late, partial
    pull(podium_kernel, REF, folder, console)
    assert content_of(folder) == RUN | REPORTED | {"some-kernel.log": b""}
    assert console.file.getvalue().count("; looking again in 20 s\n") == late + partial


def test_files_of_the_report_that_no_list_has_are_waited_for(podium_kernel, standin, folder, console):
    weights = standin.version(REF).files.pop("runs/one/best.weights.h5")
    with pytest.raises(IncompleteOutputError, match=r"not list 1 of the 2 files .*first: runs/one/best\.weights\.h5"):
        pull(podium_kernel, REF, folder, console, looks=1)

    def appear():
        standin.version(REF).files["runs/one/best.weights.h5"] = weights

    standin.when("ListKernelSessionOutput", appear, call=3)
    pull(podium_kernel, REF, folder, console)
    assert content_of(folder).keys() >= RUN.keys()


def test_a_kernel_of_podium_without_its_report_is_an_error(podium_kernel, standin, folder, console, one_line):
    set_output(standin, RUN)
    with pytest.raises(IncompleteOutputError, match=f"lists 2 files of its output, and no {REPORT}") as error:
        pull(podium_kernel, REF, folder, console)
    assert "pull it again later, or add --even-failed" in one_line(error)
    assert not folder.exists()
    assert standin.count("ListKernelFiles") == LOOKS
    pull(podium_kernel, REF, folder, console, even_failed=True)
    assert content_of(folder).keys() == {*RUN, "some-kernel.log"}


def test_nothing_is_known_of_the_output_of_other_kernels(kaggle, standin, folder, console):
    set_output(standin, {})
    pull(kaggle, REF, folder, console)
    assert f"{REF}: 0 files" in console.file.getvalue()
    assert standin.count("ListKernelFiles") == 1


def test_sizes_that_kaggle_does_not_list_are_those_of_the_report(podium_kernel, standin, folder, console):
    standin.reported.no_sizes = True
    set_output(standin, RUN | REPORTED | {"runs/one/best.weights.h5": LARGE[:-1]})
    with pytest.raises(KaggleError, match=r"lists runs/one/best\.weights\.h5 but does not provide it"):
        pull(podium_kernel, REF, folder, console)
    assert not (folder / "runs/one/best.weights.h5").exists()


# Resuming


def test_a_second_pull_downloads_nothing(kaggle, standin, folder, console):
    pull(kaggle, REF, folder, console)
    pull(kaggle, REF, folder, console)
    assert len(downloads(standin)) == 3
    assert content_of(folder) == COMPLETE


def test_a_changed_or_missing_file_is_downloaded_again(kaggle, standin, folder, console):
    pull(kaggle, REF, folder, console)
    (folder / "a.txt").write_bytes(b"b")
    (folder / "runs/one/history.csv").unlink()
    before = len(downloads(standin))
    pull(kaggle, REF, folder, console)
    assert sorted(downloads(standin)[before:]) == ["a.txt", "history.csv"]
    assert content_of(folder) == COMPLETE


def test_a_file_without_a_note_is_downloaded_again(kaggle, standin, folder, console):
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"?")
    pull(kaggle, REF, folder, console)
    assert content_of(folder) == COMPLETE


@pytest.mark.parametrize(
    "note",
    ["", "[]", "{", '{"kernel": 5, "files": 6}', '{"kernel": "ada/some-kernel/1", "files": {"a.txt": 5}}'],
)
def test_a_malformed_note_is_ignored(note, kaggle, folder, console):
    folder.mkdir()
    (folder / NOTE).write_text(note)
    pull(kaggle, REF, folder, console)
    assert content_of(folder) == COMPLETE


def test_another_version_replaces_the_files(kaggle, standin, folder, console):
    pull(kaggle, REF, folder, console)
    standin.finish(push_another(standin), {"a.txt": b"b"}, log="second\n")
    before = len(downloads(standin))
    pull(kaggle, REF.at(2), folder, console)
    assert downloads(standin)[before:] == ["a.txt"]
    assert (folder / "a.txt").read_bytes() == b"b"
    assert json.loads((folder / NOTE).read_text())["kernel"] == "ada/some-kernel/2"


def test_an_interrupted_pull_is_resumed(kaggle, standin, folder, console, one_line):
    set_output(standin, {"a.bin": LARGE, "b.bin": LARGE[::-1]})
    standin.fail("output-file", Fault.reset_midway(), times=2)
    standin.fail("output-file", Fault.status(503), times=None)
    with pytest.raises(UnreachableError) as error:
        pull(kaggle, REF, folder, console)
    assert one_line(error)
    assert {name for name in content_of(folder) if not Path(name).name.startswith(".partial-")} == set()
    standin.heal()
    before = len(downloads(standin))
    pull(kaggle, REF, folder, console)
    asked = [call.request.headers.get("Range") for call in standin.calls if call.method == "output-file"][before:]
    assert any(asked)  # the other may have been stopped before any of its bytes arrived
    assert content_of(folder) == {"a.bin": LARGE, "b.bin": LARGE[::-1], "some-kernel.log": b"the last words\n"}


def test_expired_urls_are_renewed_with_one_listing(kaggle, standin, folder, console):
    set_output(standin, {f"{number}.bin": bytes([number]) for number in range(6)})
    standin.when("output-file", standin.expire_links)
    pull(kaggle, REF, folder, console)
    assert {name: content_of(folder)[name] for name in standin.version(REF).files} == standin.version(REF).files
    assert standin.count("ListKernelFiles") == 2


def test_a_file_that_is_listed_but_not_sent_ends_the_pull(kaggle, standin, folder, console, one_line):
    set_output(standin, {f"{number}.bin": b"x" for number in range(50)})
    standin.fail("output-file", Fault.status(404), times=None)
    with pytest.raises(NotFoundError, match=r"lists \d\.bin but does not provide it") as error:
        pull(kaggle, REF, folder, console)
    assert one_line(error)
    assert len(downloads(standin)) <= 2 * AT_ONCE


def test_two_files_are_downloaded_at_a_time(folder, console):
    class Counting:
        """Sends a file once two are requested."""

        def __init__(self):
            self.now, self.most, self.lock = 0, 0, threading.Lock()
            self.together = threading.Barrier(AT_ONCE)

        def kernel_status(self, ref):
            return KernelStatus.model_construct(state="complete", failure="")

        def output_files(self, ref):
            return [OutputFile(f"{number}.bin", f"https://storage.example/{number}", 1) for number in range(6)]

        def kernel_source(self, ref):
            return None

        def log(self, ref):
            return iter(())

        def fetch(self, file, path, progress):
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            self.together.wait(timeout=60)
            path.write_bytes(b"x")
            with self.lock:
                self.now -= 1

    counting = Counting()
    pull(counting, REF, folder, console)
    assert counting.most == AT_ONCE == 2


def test_two_pulls_into_one_folder_are_refused(kaggle, folder, console):
    with locked(folder), pytest.raises(RunError, match="is in use by"):
        pull(kaggle, REF, folder, console)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_pull_that_hangs_and_the_next_one_resumes(number, kaggle, standin, folder, console):
    standin.fail("output-file", Fault.stall(), times=None)
    standin.when("output-file", lambda: os.kill(os.getpid(), number))
    with interruptible(), pytest.raises(Interrupted, match=number.name):
        pull(kaggle, REF, folder, console)
    assert standin.count("output-file") <= AT_ONCE
    standin.heal()
    pull(sign_in(), REF, folder, console)
    assert content_of(folder) == COMPLETE


def test_a_terminal_shows_a_progress_bar(kaggle, folder):
    terminal = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    pull(kaggle, REF, folder, terminal)
    output = terminal.file.getvalue()
    assert "ada/some-kernel/1: 3 files" in output
    assert "524.3/524.3 kB" in output
