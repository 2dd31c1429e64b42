"""Retries: which failures are retried, how long the waits are, and what is printed meanwhile."""

import errno
import json
import os
import signal
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from podium import retries
from podium.errors import (
    CredentialsError,
    ForbiddenError,
    KaggleError,
    NotFoundError,
    RateLimitedError,
    UnreachableError,
)
from podium.retries import with_retries
from podium.signals import Interrupted, interruptible


def http_error(status, message="the reason", retry_after=None, body=None):
    """An error as kagglesdk raises it."""
    response = requests.Response()
    response.status_code, response._content = status, json.dumps(body or {}).encode()
    if retry_after is not None:
        response.headers["Retry-After"] = retry_after
    return requests.HTTPError(message, response=response)


@pytest.fixture
def waited(monkeypatch):
    """The seconds of every wait; nothing sleeps, and the random part is at its maximum."""
    seconds = []
    monkeypatch.delenv("PODIUM_KAGGLE_ENDPOINT", raising=False)
    monkeypatch.setattr(retries, "sleep", seconds.append)
    monkeypatch.setattr(retries.random, "uniform", lambda low, high: high)
    return seconds


class Failing:
    """A request that raises these errors in turn, and then succeeds."""

    def __init__(self, *errors):
        self.errors, self.attempts = list(errors), 0

    def __call__(self):
        self.attempts += 1
        if self.errors:
            raise self.errors.pop(0)
        return "the response"


def test_waits_double_from_one_second_and_end_after_six_attempts(waited):
    request = Failing(*[requests.ConnectionError()] * 9)
    with pytest.raises(
        UnreachableError, match=r"no complete response from Kaggle \(ConnectionError\); check the connection, or"
    ):
        with_retries("the request", request)
    assert request.attempts == 6
    assert waited == [1, 2, 4, 8, 16]


def test_no_wait_is_longer_than_a_minute(waited, monkeypatch):
    monkeypatch.setattr(retries, "ATTEMPTS", 12)
    assert with_retries("the request", Failing(*[http_error(503)] * 9)) == "the response"
    assert waited == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_waits_are_random(waited, monkeypatch):
    bounds = []
    monkeypatch.setattr(retries.random, "uniform", lambda low, high: bounds.append((low, high)) or 0.25)
    with_retries("the request", Failing(http_error(500), http_error(500)))
    assert bounds == [(0, 1), (0, 2)]
    assert waited == [0.25, 0.25]


def test_a_test_server_shortens_the_backoff_but_not_retry_after(waited, monkeypatch):
    monkeypatch.setenv("PODIUM_KAGGLE_ENDPOINT", "http://127.0.0.1:9")
    with_retries("the request", Failing(http_error(500), http_error(429, retry_after="3"), http_error(500)))
    assert waited == [0.01, 3.0, 0.04]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("1.5", 1.5), ("0", 0.0), ("-3", 0.0), (None, 1), ("soon", 1), ("nan", 1), ("inf", 1), ("", 1)],
)
def test_retry_after_in_seconds(header, seconds, waited):
    assert with_retries("the request", Failing(http_error(429, retry_after=header))) == "the response"
    assert waited == [seconds]


def test_retry_after_as_a_date(waited):
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    with_retries("the request", Failing(http_error(429, retry_after=then)))
    with_retries("the request", Failing(http_error(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")))
    assert 30 < waited[0] <= 40
    assert waited[1] == 0


def test_a_long_wait_is_reported_in_one_line(waited, capsys):
    with_retries("the status of ada/x/1", Failing(http_error(429, retry_after="30")))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "podium: the status of ada/x/1: Kaggle rate-limited the request; retrying in 30 s\n"


def test_a_short_wait_is_not_reported(waited, capsys):
    with_retries("the request", Failing(http_error(429, retry_after="2")))
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
def test_temporary_failures_are_retried(error, waited):
    request = Failing(error)
    assert with_retries("the request", request) == "the response"
    assert request.attempts == 2


@pytest.mark.parametrize("error", [requests.ConnectionError(), requests.ReadTimeout(), http_error(500), ValueError()])
def test_a_request_to_be_sent_once_is_not_retried_when_it_may_have_succeeded(error, waited):
    request = Failing(error)
    with pytest.raises(UnreachableError):
        with_retries("the request", request, once=True)
    assert request.attempts == 1
    assert waited == []


def test_a_rate_limited_request_to_be_sent_once_is_retried(waited):
    assert with_retries("the request", Failing(http_error(429), http_error(429)), once=True) == "the response"


@pytest.mark.parametrize(
    ("status", "kind"), [(400, KaggleError), (401, CredentialsError), (403, ForbiddenError), (404, NotFoundError)]
)
def test_refused_requests_are_reported_at_once_with_the_reason(status, kind, waited):
    request = Failing(http_error(status, "the reason\nand much more"))
    with pytest.raises(kind) as error:
        with_retries("the request", request)
    assert type(error.value) is kind
    assert str(error.value).startswith("the request: ")
    assert "the reason" in str(error.value)
    assert "\n" not in str(error.value)
    assert request.attempts == 1


def test_an_error_code_in_a_response_with_status_200_counts(waited):
    request = Failing(http_error(200, "Not found", body={"code": 404, "message": "Not found"}))
    with pytest.raises(NotFoundError):
        with_retries("the request", request, once=True)


def test_signed_urls_are_not_shown(waited):
    message = "403 Client Error: Forbidden for url: https://storage.example/a?signature=abc"
    with pytest.raises(ForbiddenError) as error:
        with_retries("the request", Failing(http_error(403, message)))
    assert "403 Client Error: Forbidden" in str(error.value)
    assert "signature" not in str(error.value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EISDIR])
def test_local_errors_are_raised_unchanged(number, waited):
    request = Failing(OSError(number, "no"))
    with pytest.raises(OSError, match="no") as error:
        with_retries("the request", request)
    assert error.value.errno == number
    assert request.attempts == 1


def test_errors_of_podium_are_raised_unchanged(waited):
    request = Failing(KaggleError("in one line"))
    with pytest.raises(KaggleError, match=r"^in one line$"):
        with_retries("the request", request)
    assert request.attempts == 1


def test_a_retry_after_of_hours_is_reported_instead_of_waited_for(waited):
    with pytest.raises(RateLimitedError, match="rate-limited the request for 120 minutes") as error:
        with_retries("the request", Failing(http_error(429, retry_after="7200")))
    assert error.value.seconds == 7200
    assert waited == []


def test_a_request_waits_for_a_quarter_of_an_hour_in_total_while_it_is_rate_limited(waited, capsys):
    with pytest.raises(RateLimitedError, match="rate-limited the request for 20 minutes; run the same command then"):
        with_retries("the request", Failing(*[http_error(429, retry_after="600")] * 9), once=True)
    assert waited == [600]
    assert capsys.readouterr().err == "podium: the request: Kaggle rate-limited the request; retrying in 10 minutes\n"


def test_a_retry_after_that_was_not_true_is_not_believed_again(waited):
    errors = [http_error(429, retry_after="0")] * 4
    assert with_retries("the request", Failing(*errors)) == "the response"
    assert waited == [0, 2, 4, 8]


def test_a_rate_limit_that_lasts_says_when_to_try_again(waited):
    with pytest.raises(RateLimitedError, match="it may last over half an hour") as error:
        with_retries("the request", Failing(*[http_error(429)] * 9))
    assert error.value.seconds == 60


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_request_that_hangs(number):
    released, finished = threading.Event(), []

    def hang():
        os.kill(os.getpid(), number)
        released.wait(60)
        finished.append(True)

    with interruptible(), pytest.raises(Interrupted, match=number.name):
        with_retries("the request", hang)
    assert finished == []
    released.set()


def test_an_interrupt_that_was_lost_ends_the_next_request(waited):
    with interruptible():
        with suppress(Interrupted):  # as a destructor does
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="SIGTERM"):
            with_retries("the request", Failing(*[requests.ConnectionError()] * 9))
    assert waited == []
