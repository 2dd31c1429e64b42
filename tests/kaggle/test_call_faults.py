"""Every call that podium makes to Kaggle, met by every fault: a retry that works, or one line; no effect twice."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from standin.faults import Fault

from podium import retries
from podium.config.kaggle_names import KernelRef
from podium.errors import CredentialsError, ForbiddenError, KaggleError, NotFoundError, UnreachableError
from podium.kaggle import connection
from podium.kaggle.client import sign_in

REF = KernelRef("ada", "some-kernel", 1)
CONTENT = b"0123456789" * 100_000
METADATA = {
    "id": "ada/new-kernel", "title": "new-kernel", "language": "python", "kernel_type": "script", "is_private": True,
    "enable_gpu": False, "enable_tpu": False, "enable_internet": False, "machine_shape": "", "keywords": [],
    "dataset_sources": [], "competition_sources": [], "kernel_sources": [], "model_sources": [],
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """What podium asks for, the request of it that fails, and how its effects are counted, where it has one."""

    name: str
    ask: Any
    effects: Any = None


def fetch_output(kaggle):
    (file,) = kaggle.output_files(REF)
    path = Path("output.bin")
    kaggle.fetch(file, path)
    return path.read_bytes()


def download(kaggle):
    kaggle.download_data("cars", Path("cars.zip"))
    return Path("cars.zip").stat().st_size > 0


def submit(kaggle):
    Path("answer.csv").write_text("Id,Category\na,0\n")
    return kaggle.submit("cars", Path("answer.csv"), "a message")


def pushes(standin):
    return sum(version.ref.startswith("ada/new-kernel") for version in standin.versions())


def submissions(standin):
    return len(standin.submissions["cars"])


def submit_code(kaggle):
    return kaggle.submit_code("code", REF, "output.bin", "a message")


def code_submissions(standin):
    return len(standin.submissions["code"])


CALLS = [
    Call("GetAcceleratorQuotaStatistics", lambda kaggle: kaggle.gpu_quota().hours_allowed),
    Call("GetKernelSessionStatus", lambda kaggle: kaggle.kernel_status(REF).state),
    Call("GetKernel", lambda kaggle: kaggle.kernel_source(REF).version),
    Call("ListKernelSessionOutput", lambda kaggle: [file.name for file in kaggle.output_files(REF)]),
    Call("ListKernelFiles", lambda kaggle: [file.size for file in kaggle.output_files(REF)]),
    Call("output-file", fetch_output),
    Call("ListKernelSessionOutput", lambda kaggle: list(kaggle.log(REF))),
    Call("GetKernelSessionLogsStream", lambda kaggle: list(kaggle.follow_log(REF))),
    Call("GetCompetition", lambda kaggle: kaggle.competition("cars").has_entered),
    Call("ListSubmissions", lambda kaggle: [one.ref for one in kaggle.submissions("cars")]),
    Call("GetSubmissionLimits", lambda kaggle: kaggle.allowance("cars").left_today),
    Call("GetLeaderboard", lambda kaggle: [place.team for place in kaggle.leaderboard("cars")]),
    Call("ListDataFiles", lambda kaggle: [file.name for file in kaggle.data_files("cars")]),
    Call("DownloadDataFiles", download),
    Call("data-zip", download),
    Call("StartSubmissionUpload", submit, submissions),
    Call("upload", submit, submissions),
    Call("CreateSubmission", submit, submissions),
    Call("CreateCodeSubmission", submit_code, code_submissions),
    Call("SaveKernel", lambda kaggle: str(kaggle.push(METADATA, "print()").ref), pushes),
]
IDS = [f"{call.name}-{number}" for number, call in enumerate(CALLS)]
ONCE = ("SaveKernel", "CreateSubmission", "CreateCodeSubmission")
"""What is not asked again where the answer is lost."""
PASSING = [
    Fault.status(429, retry_after=0),
    Fault.status(500),
    Fault.status(503),
    Fault.reset_before(),
    Fault.reset_midway(),
    Fault.stall(),
    Fault.stall_midway(),
    Fault.truncated(),
    Fault.malformed(),
    Fault.malformed(b"[]"),
    Fault.malformed(b"<html>", content_type="text/html"),
]
REFUSED = {401: CredentialsError, 403: ForbiddenError, 404: NotFoundError, 400: KaggleError}


def label(fault):
    return f"{fault.kind}{fault.code or ''}{fault.body[:3].decode()}"


@pytest.fixture(autouse=True)
def _short_patience_for_a_stall(request, monkeypatch):
    """Anything else has all the time that a busy machine may need."""
    fault = getattr(request.node, "callspec", None) and request.node.callspec.params.get("fault")
    if fault and fault.kind in ("stall", "stall_midway"):
        monkeypatch.setattr(connection, "READ_SECONDS", 0.5)


@pytest.fixture
def kaggle(standin, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(retries, "sleep", lambda seconds: None)
    standin.add_kernel("ada/some-kernel", {"output.bin": CONTENT})
    standin.version("ada/some-kernel").tell("a line\n")
    for slug in ("cars", "code"):
        standin.add_competition(
            slug, {"train.csv": b"Id\na\n" * 500}, lambda content: 0.5, code_only=slug == "code", others={"grace": 0.9}
        )
    return sign_in()


def told(error):
    text = str(error.value)
    assert len(text.splitlines()) == 1
    return text


def is_transfer(call):
    """Of bytes: they have no form that could be wrong."""
    return call.name in ("output-file", "data-zip", "upload", "DownloadDataFiles", "GetKernelSessionLogsStream")


TABLE = [
    pytest.param(call, fault, id=f"{name}-{label(fault)}")
    for call, name in zip(CALLS, IDS, strict=True)
    for fault in PASSING
    if not (fault.kind == "malformed" and is_transfer(call))
]


@pytest.mark.parametrize(("call", "fault"), TABLE)
def test_what_passes_is_asked_again(call, fault, kaggle, standin):
    whole = call.ask(kaggle)
    before = call.effects(standin) if call.effects else 0
    standin.fail(call.name, fault)
    if call.name in ONCE and fault.code != 429:
        with pytest.raises(UnreachableError) as error:
            call.ask(kaggle)
        assert told(error)
        assert call.effects(standin) == before
        return
    again = call.ask(kaggle)
    if call.effects:
        assert call.effects(standin) == before + 1
    else:
        assert again == whole


@pytest.mark.parametrize("fault", [fault for fault in PASSING if fault.code != 429], ids=label)
@pytest.mark.parametrize("call", [call for call in CALLS if call.name in ONCE], ids=ONCE)
def test_effect_whose_answer_was_lost_is_not_made_again(call, fault, kaggle, standin):
    standin.fail(call.name, Fault(**{**vars(fault), "after_effect": True}))
    with pytest.raises(UnreachableError) as error:
        call.ask(kaggle)
    assert told(error)
    assert call.effects(standin) == 1


@pytest.mark.parametrize("code", REFUSED)
@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_what_kaggle_refuses_is_one_line_and_asked_once(call, code, kaggle, standin):
    standin.fail(call.name, Fault.status(code, message="the reason"), times=None)
    if call.name == "GetKernel" and code in (403, 404):  # so Kaggle answers for a name that no kernel has
        assert kaggle.kernel_source(REF) is None
        return
    with pytest.raises(REFUSED[code]) as error:
        call.ask(kaggle)
    assert "the reason" in told(error) or is_transfer(call)
    assert standin.count(call.name) <= 1 or is_transfer(call)
    if call.effects:
        assert call.effects(standin) == 0


@pytest.mark.parametrize("fault", [Fault.status(429), Fault.status(503), Fault.reset_before()], ids=label)
@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_what_does_not_pass_is_told_in_the_end(call, fault, kaggle, standin):
    standin.fail(call.name, fault, times=None)
    with pytest.raises(UnreachableError) as error:
        call.ask(kaggle)
    assert "again later" in told(error) or "wait a while" in told(error)
    if call.effects:
        assert call.effects(standin) == 0
    assert list(Path().glob("*.zip")) == list(Path().glob("*.bin")) == []


@pytest.mark.parametrize("fault", [*PASSING, Fault.status(401)], ids=label)
def test_signing_in_with_a_token_through_every_fault(fault, standin, monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLE_API_TOKEN", standin.token)
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    assert sign_in().user == "ada"
    standin.fail("IntrospectToken", fault)
    if fault.code == 401:
        with pytest.raises(CredentialsError) as error:
            sign_in()
        assert told(error)
    else:
        assert sign_in().user == "ada"


def test_retry_after_is_kept(kaggle, standin, monkeypatch):
    waited = []
    monkeypatch.setattr(retries, "sleep", waited.append)
    standin.fail("GetCompetition", Fault.status(429, retry_after=7))
    standin.fail("GetCompetition", Fault.status(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"))
    standin.fail("GetCompetition", Fault.status(429))
    assert kaggle.competition("cars").slug == "cars"
    assert waited[:2] == [7.0, 0.0]
    assert 0 <= waited[2] < 60


def test_retry_after_of_hours_is_told_rather_than_waited_for(kaggle, standin):
    standin.fail("GetCompetition", Fault.status(429, retry_after=7200))
    with pytest.raises(KaggleError, match="asks to wait 120 minutes"):
        kaggle.competition("cars")


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org",
        "http://192.168.0.1:80",
        "http://evil.example",
        "http://127.0.0.1:80/path",
        "ftp://localhost",
        "nonsense",
    ],
)
def test_the_seam_leads_to_this_machine_only(address, standin, monkeypatch):
    monkeypatch.setenv("PODIUM_KAGGLE_ENDPOINT", address)
    with pytest.raises(KaggleError, match="may name only this machine"):
        sign_in()
    assert standin.calls == []


def test_no_key_is_one_line(standin, monkeypatch):
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(CredentialsError, match=r"no Kaggle key here; .*access_token") as error:
        sign_in()
    assert told(error)


def test_wrong_key_is_told_at_the_first_call(standin, monkeypatch):
    monkeypatch.setenv("KAGGLE_KEY", "another")
    with pytest.raises(CredentialsError, match="Kaggle does not take the key"):
        sign_in().gpu_quota()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dataset_sources": ["bob/none"]}, "no dataset bob/none"),
        ({"competition_sources": ["none"]}, "no competition none"),
        ({"kernel_sources": ["bob/none"]}, "no kernel bob/none"),
        ({"model_sources": ["a/b/c/d/1"]}, "no model a/b/c/d/1"),
        ({"keywords": ["no-such-tag"]}, "no tags no-such-tag"),
        ({"title": "another-name"}, "it is called ada/another-name there"),
    ],
)
def test_whole_answer_to_a_push_is_read(change, named, kaggle):
    with pytest.raises(KaggleError, match=named):
        kaggle.push(METADATA | change, "print()")


def test_versions_are_asked_for_exactly(kaggle, standin):
    first = kaggle.push(METADATA, "print(1)").ref
    standin.finish(first, {"a.txt": b"first"})
    second = kaggle.push(METADATA, "print(2)").ref
    standin.finish(second, {"a.txt": b"second"}, state="error", failure="no")
    assert [kaggle.kernel_status(ref).state for ref in (first, second)] == ["complete", "error"]
    for ref, content in ((first, b"first"), (second, b"second")):
        (file,) = kaggle.output_files(ref)
        kaggle.fetch(file, Path("a.txt"))
        assert Path("a.txt").read_bytes() == content
    with pytest.raises(NotFoundError):
        kaggle.kernel_status(first.at(3))


def test_fetch_goes_on_where_it_was_broken_off(kaggle, standin):
    (file,) = kaggle.output_files(REF)
    standin.fail("output-file", Fault.reset_midway())
    sizes = []
    kaggle.fetch(file, Path("whole.bin"), sizes.append)
    assert Path("whole.bin").read_bytes() == CONTENT
    ranges = [call.request.headers.get("Range") for call in standin.calls if call.method == "output-file"]
    assert ranges[0] is None
    assert int(ranges[1].removeprefix("bytes=").removesuffix("-")) >= 65_536


def test_another_size_than_listed_is_refused(kaggle):
    from dataclasses import replace

    (file,) = kaggle.output_files(REF)
    with pytest.raises(KaggleError, match="Kaggle lists 5 bytes and sends 1,000,000"):
        kaggle.fetch(replace(file, size=5), Path("whole.bin"))
    assert not Path("whole.bin").exists()
