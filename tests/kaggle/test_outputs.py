"""Fetching what a kernel left: whole, of one version, inside the folder, and never twice."""

import io
import json
import signal
import threading
from pathlib import Path

import pytest
from rich.console import Console
from standin.faults import Fault

from podium import retries
from podium.config.kaggle_names import KernelRef
from podium.errors import KaggleError, NotFoundError, RunError, UnreachableError
from podium.kaggle.answers import OutputFile
from podium.kaggle.client import sign_in
from podium.kaggle.outputs import AT_ONCE, NOTE, check_names, pull, with_version
from podium.locks import locked

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
    """All but podium's own note."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != NOTE]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


WHOLE = FILES | {"some-kernel.log": b"the last words\n"}


def fetched(standin):
    return [call.request.path.rsplit("/", 1)[1] for call in standin.calls if call.method == "output-file"]


def told(error):
    text = str(error.value)
    assert len(text.splitlines()) == 1
    return text


def give(standin, files):
    standin.version(REF).files = dict(files)


def push_another(standin):
    """Version 2, which is queued."""
    with standin.changed:
        return standin.new_version(standin.kernels["ada", "some-kernel"], standin.version(REF).request, [])


def test_every_file_and_the_log_lie_in_the_folder(kaggle, folder, console):
    paths = pull(kaggle, REF, folder, console)
    assert content_of(folder) == WHOLE
    assert {path.relative_to(folder).as_posix() for path in paths} == set(WHOLE)
    said = console.file.getvalue()
    assert "  runs/one/model.bin: 524,288 bytes\n" in said
    assert said.splitlines()[-1].startswith(f"{REF}: 3 files, ")


def test_note_says_which_version_and_which_files_are_whole(kaggle, folder, console):
    pull(kaggle, REF, folder, console)
    note = json.loads((folder / NOTE).read_text())
    assert note["kernel"] == "ada/some-kernel/1"
    assert {name: one["size"] for name, one in note["files"].items()} == {
        name: len(data) for name, data in FILES.items()
    }


# Of one version


def test_without_a_version_the_newest_is_fixed_before_anything_is_listed(kaggle, standin, folder, console):
    standin.when("GetKernelSessionStatus", lambda: push_another(standin))
    pull(kaggle, KernelRef("ada", "some-kernel"), folder, console)
    assert content_of(folder) == WHOLE
    asked = {call.request.version_label for call in standin.calls if "Session" in call.method or "Files" in call.method}
    assert asked == {"v1"}


def test_kernel_that_is_not_there_is_told(kaggle, folder, console):
    with pytest.raises(KaggleError, match="Kaggle knows no kernel ada/nothing") as error:
        with_version(kaggle, KernelRef("ada", "nothing"))
    assert told(error)


@pytest.mark.parametrize("state", ["queued", "running"])
def test_version_that_is_not_over_is_told_with_what_to_do(state, kaggle, standin, folder, console):
    standin.version(REF).state = state
    with pytest.raises(
        KaggleError, match=f"is {state}, not yet over; podium kernel logs -f ada/some-kernel/1"
    ) as error:
        pull(kaggle, REF, folder, console)
    assert told(error)
    assert not folder.exists()


def test_version_that_failed_tells_its_last_lines_and_gives_its_files_when_asked(kaggle, standin, folder, console):
    for number in range(30):
        standin.version(REF).tell(f"line {number}\n")
    standin.finish(REF, FILES, state="error", failure="out of memory")
    with pytest.raises(KaggleError, match="ended as error") as error:
        pull(kaggle, REF, folder, console)
    first, *last = str(error.value).splitlines()
    assert "out of memory" in first
    assert "--even-failed" in first
    assert last == [f"  line {number}" for number in range(15, 30)]
    assert not folder.exists()
    pull(kaggle, REF, folder, console, even_failed=True)
    assert content_of(folder).keys() == WHOLE.keys()


# Names


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "../a", "a/../../b", "..", ".", "", "a//b", "a/", "./a", "a/./b", "C:a", "C:/a", "c:\\a", "a\\b",
        "\\\\server\\a", "..\\a", "a\0b", "\ud800",
    ],
)  # fmt: skip
def test_name_that_leads_elsewhere_is_refused_before_anything_is_written(name, tmp_path):
    with pytest.raises(KaggleError, match="outside of its folder") as error:
        check_names(["good.txt", name], tmp_path)
    assert told(error).isascii()


@pytest.mark.parametrize(
    ("one", "other"),
    [("a.txt", "a.txt"), ("a.txt", "A.TXT"), ("straße", "STRASSE"), ("a", "a/b"), ("a/b", "a"), ("A/b/c", "a/B")],
)
def test_names_of_which_only_one_can_be_here_are_refused(one, other, tmp_path):
    with pytest.raises(KaggleError, match="cannot both be here") as error:
        check_names([one, other], tmp_path)
    assert told(error)


def test_names_side_by_side_are_fine(tmp_path):
    check_names(["a/b", "a/c", "a.b", "d/a/b", "...", "..a", "a b", "ä"], tmp_path)


def test_many_names_are_looked_at_in_a_moment(tmp_path):
    check_names([f"images/{number}.jpg" for number in range(5000)], tmp_path)


@pytest.mark.parametrize("name", ["../escaped.txt", "some-kernel.log", NOTE, ".PODIUM-PULL.JSON", "a/.partial-b"])
def test_pull_of_a_name_it_must_not_write_writes_nothing(name, kaggle, standin, folder, console):
    give(standin, {"good.txt": b"good", name: b"bad"})
    with pytest.raises(KaggleError, match="nothing was fetched") as error:
        pull(kaggle, REF, folder, console)
    assert told(error)
    assert not folder.exists()
    assert fetched(standin) == []


@pytest.mark.parametrize(
    ("link", "target", "name"),
    [
        ("link", ".", "link/a.txt"),
        ("link", ".", "link/deeper/a.txt"),
        ("a/link", ".", "a/link/b/c.txt"),
        ("link", "not/there", "link/a.txt"),
    ],
)
def test_link_on_the_way_out_is_refused(link, target, name, kaggle, standin, folder, console, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / link).parent.mkdir(parents=True)
    (folder / link).symlink_to(outside / target)
    give(standin, {name: b"escaped"})
    with pytest.raises(KaggleError, match="leads out of") as error:
        pull(kaggle, REF, folder, console)
    assert told(error)
    assert list(outside.iterdir()) == []


def test_link_in_the_place_of_a_file_is_refused(kaggle, folder, console, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    folder.mkdir()
    (folder / "a.txt").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(KaggleError, match="leads out of"):
        pull(kaggle, REF, folder, console)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_folder_in_the_place_of_a_file_is_told(kaggle, folder, console):
    (folder / "a.txt").mkdir(parents=True)
    with pytest.raises(KaggleError, match="is a folder, and the kernel's output a file") as error:
        pull(kaggle, REF, folder, console)
    assert told(error)


def test_names_are_shown_as_they_are_and_command_no_terminal(kaggle, standin, folder, console):
    give(standin, {"a[/b].txt": LARGE, "[red]b.txt": LARGE, "clear\x1b[2J.txt": LARGE})
    pull(kaggle, REF, folder, console)
    said = console.file.getvalue()
    assert f"a[/b].txt: {len(LARGE):,} bytes" in said
    assert f"[red]b.txt: {len(LARGE):,} bytes" in said
    assert f"'clear\\x1b[2J.txt': {len(LARGE):,} bytes" in said
    assert "\x1b" not in said


# Again


def test_second_pull_fetches_nothing(kaggle, standin, folder, console):
    pull(kaggle, REF, folder, console)
    pull(kaggle, REF, folder, console)
    assert len(fetched(standin)) == 3
    assert content_of(folder) == WHOLE


def test_file_that_was_changed_or_lost_here_is_fetched_again(kaggle, standin, folder, console):
    pull(kaggle, REF, folder, console)
    (folder / "a.txt").write_bytes(b"b")
    (folder / "runs/one/history.csv").unlink()
    before = len(fetched(standin))
    pull(kaggle, REF, folder, console)
    assert sorted(fetched(standin)[before:]) == ["a.txt", "history.csv"]
    assert content_of(folder) == WHOLE


def test_file_that_nobody_noted_is_fetched_again(kaggle, standin, folder, console):
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"?")
    pull(kaggle, REF, folder, console)
    assert content_of(folder) == WHOLE


@pytest.mark.parametrize(
    "note",
    ["", "[]", "{", '{"kernel": 5, "files": 6}', '{"kernel": "ada/some-kernel/1", "files": {"a.txt": 5}}'],
)
def test_note_that_makes_no_sense_is_none(note, kaggle, folder, console):
    folder.mkdir()
    (folder / NOTE).write_text(note)
    pull(kaggle, REF, folder, console)
    assert content_of(folder) == WHOLE


def test_another_version_is_fetched_as_a_whole(kaggle, standin, folder, console):
    pull(kaggle, REF, folder, console)
    standin.finish(push_another(standin), {"a.txt": b"b"}, log="second\n")
    before = len(fetched(standin))
    pull(kaggle, REF.at(2), folder, console)
    assert fetched(standin)[before:] == ["a.txt"]
    assert (folder / "a.txt").read_bytes() == b"b"
    assert json.loads((folder / NOTE).read_text())["kernel"] == "ada/some-kernel/2"


def test_pull_that_broke_off_goes_on_with_what_lacks(kaggle, standin, folder, console):
    give(standin, {"a.bin": LARGE, "b.bin": LARGE[::-1]})
    standin.fail("output-file", Fault.reset_midway(), times=2)
    standin.fail("output-file", Fault.status(503), times=None)
    with pytest.raises(UnreachableError) as error:
        pull(kaggle, REF, folder, console)
    assert told(error)
    assert {name for name in content_of(folder) if not Path(name).name.startswith(".partial-")} == set()
    standin.heal()
    before = len(fetched(standin))
    pull(kaggle, REF, folder, console)
    asked = [call.request.headers.get("Range") for call in standin.calls if call.method == "output-file"][before:]
    assert any(asked)  # the other may have been stopped before anything of it had come
    assert content_of(folder) == {"a.bin": LARGE, "b.bin": LARGE[::-1], "some-kernel.log": b"the last words\n"}


def test_addresses_that_ran_out_are_asked_for_anew_once(kaggle, standin, folder, console):
    give(standin, {f"{number}.bin": bytes([number]) for number in range(6)})
    standin.when("output-file", standin.expire_links)
    pull(kaggle, REF, folder, console)
    assert {name: content_of(folder)[name] for name in standin.version(REF).files} == standin.version(REF).files
    assert standin.count("ListKernelFiles") == 2


def test_file_that_is_listed_and_not_given_is_told_and_ends_the_pull(kaggle, standin, folder, console):
    give(standin, {f"{number}.bin": b"x" for number in range(50)})
    standin.fail("output-file", Fault.status(404), times=None)
    with pytest.raises(NotFoundError, match=r"lists \d\.bin and does not give it") as error:
        pull(kaggle, REF, folder, console)
    assert told(error)
    assert len(fetched(standin)) <= 2 * AT_ONCE


def test_so_many_files_come_at_a_time_and_no_more(folder, console):
    class Counting:
        """Gives a file once as many are asked for as may be, or a while has passed."""

        def __init__(self):
            self.now, self.most, self.lock = 0, 0, threading.Lock()
            self.together = threading.Barrier(AT_ONCE)

        def kernel_status(self, ref):
            from podium.kaggle.answers import KernelStatus

            return KernelStatus("complete")

        def output_files(self, ref):
            return [OutputFile(f"{number}.bin", f"https://storage.example/{number}", 1) for number in range(6)]

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


def test_two_pulls_into_one_folder_do_not_meet(kaggle, folder, console):
    with locked(folder), pytest.raises(RunError, match="is in use by"):
        pull(kaggle, REF, folder, console)


def test_signal_ends_a_pull_that_hangs_and_the_next_one_goes_on(kaggle, standin, folder, console, monkeypatch):
    standin.fail("output-file", Fault.stall(), times=None)
    main = threading.main_thread().ident
    standin.when("output-file", lambda: signal.pthread_kill(main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        pull(kaggle, REF, folder, console)
    standin.heal()
    pull(sign_in(), REF, folder, console)
    assert content_of(folder) == WHOLE


def test_terminal_shows_how_far_it_is(kaggle, folder):
    terminal = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    pull(kaggle, REF, folder, terminal)
    said = terminal.file.getvalue()
    assert "ada/some-kernel/1: 3 files" in said
    assert "524.3/524.3 kB" in said
