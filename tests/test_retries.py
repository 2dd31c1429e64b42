"""Asking again: what is worth it, how long to wait, and what a person is told meanwhile."""

import errno
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from podium import retries
from podium.errors import CredentialsError, ForbiddenError, KaggleError, NotFoundError, UnreachableError
from podium.retries import patiently


def http_error(status, message="the reason", retry_after=None, body=None):
    """As kagglesdk raises it."""
    response = requests.Response()
    response.status_code, response._content = status, json.dumps(body or {}).encode()
    if retry_after is not None:
        response.headers["Retry-After"] = retry_after
    return requests.HTTPError(message, response=response)


@pytest.fixture
def waited(monkeypatch):
    """Seconds of every wait, none of which is waited for; jitter is at its longest."""
    seconds = []
    monkeypatch.delenv("PODIUM_KAGGLE_ENDPOINT", raising=False)
    monkeypatch.setattr(retries, "sleep", seconds.append)
    monkeypatch.setattr(retries.random, "uniform", lambda low, high: high)
    return seconds


class Failing:
    """A call that fails so, one after the other, and then answers."""

    def __init__(self, *errors):
        self.errors, self.asked = list(errors), 0

    def __call__(self):
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "the answer"


def test_waits_double_from_a_second_and_end_after_six_tries(waited):
    call = Failing(*[requests.ConnectionError()] * 9)
    with pytest.raises(UnreachableError, match="no whole answer from Kaggle"):
        patiently("the thing", call)
    assert call.asked == 6
    assert waited == [1, 2, 4, 8, 16]


def test_no_wait_is_longer_than_a_minute(waited, monkeypatch):
    monkeypatch.setattr(retries, "TRIES", 12)
    assert patiently("the thing", Failing(*[http_error(503)] * 9)) == "the answer"
    assert waited == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_jitter_takes_anything_from_nothing_on(waited, monkeypatch):
    bounds = []
    monkeypatch.setattr(retries.random, "uniform", lambda low, high: bounds.append((low, high)) or 0.25)
    patiently("the thing", Failing(http_error(500), http_error(500)))
    assert bounds == [(0, 1), (0, 2)]
    assert waited == [0.25, 0.25]


def test_a_stand_in_is_waited_for_a_hundredth_but_what_it_asks_for_is_kept(waited, monkeypatch):
    monkeypatch.setenv("PODIUM_KAGGLE_ENDPOINT", "http://127.0.0.1:9")
    patiently("the thing", Failing(http_error(500), http_error(429, retry_after="3"), http_error(500)))
    assert waited == [0.01, 3.0, 0.04]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7.0), ("1.5", 1.5), ("0", 0.0), ("-3", 0.0), (None, 1), ("soon", 1), ("nan", 1), ("inf", 1), ("", 1)],
)
def test_retry_after_in_seconds(said, seconds, waited):
    assert patiently("the thing", Failing(http_error(429, retry_after=said))) == "the answer"
    assert waited == [seconds]


def test_retry_after_as_a_date(waited):
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    patiently("the thing", Failing(http_error(429, retry_after=then)))
    patiently("the thing", Failing(http_error(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")))
    assert 30 < waited[0] <= 40
    assert waited[1] == 0


def test_a_long_wait_is_told_in_one_line_with_what_and_how_long(waited, capsys):
    patiently("the status of ada/x/1", Failing(http_error(429, retry_after="30")))
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "the status of ada/x/1" in err
    assert "30 s" in err


def test_a_short_wait_is_not_told(waited, capsys):
    patiently("the thing", Failing(http_error(429, retry_after="2")))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError(), requests.ReadTimeout(), requests.exceptions.ChunkedEncodingError(),
        requests.exceptions.ContentDecodingError(), ConnectionResetError(), TimeoutError(), http_error(500),
        http_error(502), http_error(503), http_error(429), ValueError(), TypeError(), KeyError(), IndexError(),
        AttributeError(), OverflowError(), RecursionError(),
    ],
    ids=repr,
)  # fmt: skip
def test_what_may_pass_is_asked_again(error, waited):
    call = Failing(error)
    assert patiently("the thing", call) == "the answer"
    assert call.asked == 2


@pytest.mark.parametrize("error", [requests.ConnectionError(), requests.ReadTimeout(), http_error(500), ValueError()])
def test_what_may_have_happened_is_not_done_again(error, waited):
    call = Failing(error)
    with pytest.raises(UnreachableError):
        patiently("the thing", call, once=True)
    assert call.asked == 1
    assert waited == []


def test_what_a_429_turned_away_did_not_happen_and_is_done_again(waited):
    assert patiently("the thing", Failing(http_error(429), http_error(429)), once=True) == "the answer"


@pytest.mark.parametrize(
    ("status", "kind"), [(400, KaggleError), (401, CredentialsError), (403, ForbiddenError), (404, NotFoundError)]
)
def test_what_kaggle_refuses_is_told_at_once_with_its_words(status, kind, waited):
    call = Failing(http_error(status, "the reason\nand much more"))
    with pytest.raises(kind) as error:
        patiently("the thing", call)
    assert type(error.value) is kind
    assert str(error.value).startswith("the thing: ")
    assert "the reason" in str(error.value)
    assert "\n" not in str(error.value)
    assert call.asked == 1


def test_a_refusal_within_an_answer_of_status_200_counts_as_one(waited):
    call = Failing(http_error(200, "Not found", body={"code": 404, "message": "Not found"}))
    with pytest.raises(NotFoundError):
        patiently("the thing", call, once=True)


def test_signed_addresses_are_not_told(waited):
    said = "403 Client Error: Forbidden for url: https://storage.example/a?signature=abc"
    with pytest.raises(ForbiddenError) as error:
        patiently("the thing", Failing(http_error(403, said)))
    assert "403 Client Error: Forbidden" in str(error.value)
    assert "signature" not in str(error.value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EISDIR])
def test_what_is_this_machines_own_is_raised_as_it_is(number, waited):
    call = Failing(OSError(number, "no"))
    with pytest.raises(OSError, match="no") as error:
        patiently("the thing", call)
    assert error.value.errno == number
    assert call.asked == 1


def test_podiums_own_failures_pass_through(waited):
    call = Failing(KaggleError("in one line"))
    with pytest.raises(KaggleError, match=r"^in one line$"):
        patiently("the thing", call)
    assert call.asked == 1
