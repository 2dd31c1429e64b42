"""Requests that fail: temporary failures are retried, others are one line, and no effect happens twice.

All calls share one function, so all faults are tried on one call and one fault on every call; the whole table is slow.
"""

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from kaggle_calls import CALLS, DATASET, ONCE, PUSH, REF, REPEATABLE
from standin.faults import Fault

from podium.errors import CredentialsError, ForbiddenError, KaggleError, NotFoundError, UnreachableError
from podium.kaggle import connection
from podium.kaggle.client import sign_in

LOST = [
    Fault.status(500), Fault.status(503), Fault.reset_before(), Fault.reset_midway(), Fault.truncated(),
    Fault.malformed(), Fault.malformed(b"[]"), Fault.malformed(b"<html>", content_type="text/html"),
]  # fmt: skip
"""Temporary failures after which nobody knows whether the request had its effect."""
STALLS = [Fault.stall(), Fault.stall_midway()]
RATE_LIMITED = Fault.status(429, retry_after=0)
REFUSALS = {400: KaggleError, 401: CredentialsError, 403: ForbiddenError, 404: NotFoundError}

UNKNOWN = {
    "GetKernel": lambda kaggle: kaggle.kernel_source(REF),
    "GetDataset": lambda kaggle: kaggle.datasets.find(DATASET),
    "GetDatasetStatus": lambda kaggle: kaggle.datasets.state(DATASET),
}
"""Calls that return None after a 403 or 404, Kaggle's response for a name that nothing has."""


def label(fault):
    return f"{fault.kind}{fault.code or ''}{fault.body[:3].decode()}"


def check_is_retried(call, fault, kaggle, standin):
    expected = call.send(kaggle)
    effects = call.effects(standin) if call.effects else 0
    before = standin.count(call.request)
    standin.fail(call.request, fault)
    result = call.send(kaggle)
    assert standin.count(call.request) > before + 1 or call.is_transfer  # a redirect needs no body
    if call.effects:
        assert call.effects(standin) == effects + 1
    else:
        assert result == expected


@pytest.mark.parametrize("fault", [*LOST, RATE_LIMITED], ids=label)
def test_every_temporary_failure_of_a_call_is_retried(fault, kaggle, standin):
    check_is_retried(REPEATABLE["has_joined"], fault, kaggle, standin)


@pytest.mark.parametrize("fault", STALLS, ids=label)
def test_a_response_that_stalls_times_out_and_is_retried(fault, kaggle, standin, monkeypatch):
    monkeypatch.setattr(connection, "READ_SECONDS", 0.3)
    monkeypatch.setattr("podium.retries.ATTEMPTS", 100)  # a busy machine may need longer for the others too
    standin.fail("GetCompetition", fault)
    assert kaggle.has_joined("cars") is True
    assert standin.count("GetCompetition") > 1


def test_a_response_that_drips_times_out_and_is_retried(kaggle, standin, monkeypatch):
    """Each byte arrives within the time-out of a read."""
    monkeypatch.setattr(connection, "CALL_SECONDS", 0.3)
    monkeypatch.setattr("podium.retries.ATTEMPTS", 100)  # as above
    standin.fail("GetCompetition", Fault.drip())
    assert kaggle.has_joined("cars") is True
    assert standin.count("GetCompetition") > 1


def test_a_push_whose_response_drips_is_not_repeated(kaggle, standin, monkeypatch):
    monkeypatch.setattr(connection, "CALL_SECONDS", 0.3)
    standin.fail(PUSH.request, Fault.drip(after_effect=True))
    with pytest.raises(UnreachableError, match="TimeoutError"):
        PUSH.send(kaggle)
    assert standin.count(PUSH.request) == PUSH.effects(standin) == 1


@pytest.mark.parametrize("name", REPEATABLE)
def test_every_call_retries_a_temporary_failure(name, kaggle, standin):
    check_is_retried(REPEATABLE[name], Fault.status(503), kaggle, standin)


@pytest.mark.parametrize("name", ONCE)
def test_a_rate_limited_push_or_submission_is_retried(name, kaggle, standin):
    check_is_retried(ONCE[name], RATE_LIMITED, kaggle, standin)


@pytest.mark.parametrize("happened", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", LOST, ids=label)
@pytest.mark.parametrize("name", ONCE)
def test_a_push_or_submission_without_a_response_is_not_repeated(name, fault, happened, kaggle, standin, one_line):
    call = ONCE[name]
    standin.fail(call.request, replace(fault, after_effect=happened))
    with pytest.raises(UnreachableError) as error:
        call.send(kaggle)
    assert "try again later" in one_line(error)
    assert standin.count(call.request) == 1
    assert call.effects(standin) == happened


def test_a_push_that_times_out_is_not_repeated(kaggle, standin, monkeypatch):
    monkeypatch.setattr(connection, "READ_SECONDS", 0.3)
    standin.fail(PUSH.request, Fault.stall(after_effect=True))
    with pytest.raises(UnreachableError):
        PUSH.send(kaggle)
    assert standin.wait_until(lambda: PUSH.effects(standin) == 1)
    assert standin.count(PUSH.request) == 1


def check_refusal(call, code, kaggle, standin, one_line):
    standin.fail(call.request, Fault.status(code, message="the reason"), times=None)
    if call.request in UNKNOWN and code in (403, 404):
        assert UNKNOWN[call.request](kaggle) is None
        return
    if call.is_optional and code != 401:
        call.send(kaggle)
        assert standin.count(call.request) == 1
        return
    if call.request == "GetCompetition" and code == 403:  # there is no such competition either
        with pytest.raises(NotFoundError, match="there is no competition 'cars'"):
            call.send(kaggle)
        return
    if call.request == "GetKernelSessionLogsStream" and code == 404:  # the stored log is read instead
        assert call.send(kaggle) == ["a line"]
        return
    with pytest.raises(REFUSALS[code]) as error:
        call.send(kaggle)
    text = one_line(error)
    assert "the reason" in text or call.is_transfer or call.request == "GetCompetition"
    assert standin.count(call.request) == 1 or call.is_transfer or call.request == "GetCompetition"
    if call.effects:
        assert call.effects(standin) == 0


@pytest.mark.parametrize("name", CALLS)
def test_every_refused_call_is_one_line_and_not_repeated(name, kaggle, standin, one_line):
    check_refusal(CALLS[name], 400, kaggle, standin, one_line)


@pytest.mark.parametrize("code", REFUSALS)
def test_refusals_have_their_error_class(code, kaggle, standin, one_line):
    check_refusal(CALLS["kernel_status"], code, kaggle, standin, one_line)


@pytest.mark.parametrize("fault", [Fault.status(503), Fault.malformed()], ids=label)
def test_signing_in_with_a_token_is_retried(fault, standin, monkeypatch, no_waiting):
    monkeypatch.setenv("KAGGLE_API_TOKEN", standin.token)
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    standin.fail("IntrospectToken", fault)
    assert sign_in().user == "ada"


def test_a_rejected_token_is_one_line(standin, monkeypatch, one_line):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "another")
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(CredentialsError, match="Kaggle rejected the API key") as error:
        sign_in()
    one_line(error)


def test_a_wrong_key_is_reported_at_the_first_call(standin, monkeypatch):
    monkeypatch.setenv("KAGGLE_KEY", "another")
    with pytest.raises(CredentialsError, match="Kaggle rejected the API key"):
        sign_in().gpu_quota()


def test_a_missing_key_is_one_line(standin, monkeypatch, one_line):
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(CredentialsError, match=r"no Kaggle API key found; .*access_token") as error:
        sign_in()
    one_line(error)
    assert not sys.stdin.closed


def test_a_damaged_key_file_is_not_reported_as_rejected(standin, monkeypatch, one_line):
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    path = Path(os.environ["KAGGLE_CONFIG_DIR"]) / "kaggle.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{username: ada}")
    path.chmod(0o600)
    with pytest.raises(
        CredentialsError, match=r"no usable Kaggle API key: cannot read .*kaggle\.json: Expect"
    ) as error:
        sign_in()
    one_line(error)


def test_the_client_that_exits_without_a_key_leaves_stdin_open():
    """Its import does so always: the key is hidden from it."""
    code = "import sys; from podium.kaggle.connection import _client_class; _client_class(); print(sys.stdin.closed)"
    ended = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    assert ended.stdout == b"False\n"


# A login whose token expires


@pytest.fixture
def login(standin, monkeypatch, no_waiting):
    """Signed in by `kaggle auth login` only."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    standin.log_in()
    standin.add_competition("cars", {}, lambda rows: 0.5)
    return sign_in()


@pytest.mark.parametrize("name", ["has_joined", "push"])
def test_an_expired_token_is_renewed_once_and_the_request_repeated(name, login, standin):
    for _ in range(2):
        standin.expire_token()
        CALLS[name].send(login)
    assert standin.count("GenerateAccessToken") == 2
    assert standin.count(CALLS[name].request) == 4
    assert login.user == "ada"
    assert name != "push" or PUSH.effects(standin) == 2


def test_a_login_that_was_revoked_is_one_line(login, standin, one_line):
    standin.expire_token()
    standin.refresh_token = "another"
    with pytest.raises(CredentialsError, match="Kaggle rejected the API key") as error:
        login.has_joined("cars")
    assert one_line(error)


def test_a_new_token_that_is_rejected_too_is_an_error(login, standin):
    standin.fail("GetCompetition", Fault.status(401), times=None)
    standin.expire_token()
    with pytest.raises(CredentialsError):
        login.has_joined("cars")
    assert standin.count("GetCompetition") == 2


# Everything against everything


TABLE = [
    pytest.param(name, fault, id=f"{name}-{label(fault)}")
    for name, call in REPEATABLE.items()
    for fault in [*LOST, RATE_LIMITED, *STALLS]
    if not (call.is_transfer and fault.kind == "malformed")
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fault"), TABLE)
def test_every_call_retries_every_temporary_failure(name, fault, kaggle, standin, monkeypatch):
    call = REPEATABLE[name]
    if fault.kind in ("stall", "stall_midway"):
        monkeypatch.setattr(connection, "READ_SECONDS", 0.5)
        monkeypatch.setattr("podium.retries.ATTEMPTS", 100)
    check_is_retried(call, fault, kaggle, standin)


@pytest.mark.slow
@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("name", CALLS)
def test_every_refusal_of_every_call_is_one_line(name, code, kaggle, standin, one_line):
    check_refusal(CALLS[name], code, kaggle, standin, one_line)
