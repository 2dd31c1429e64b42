"""The fixture `standin`: a stand-in of its own for every test, reached and signed in to through the environment."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from standin.service import StandIn


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> "Iterator[StandIn]":
    from standin.service import StandIn

    with StandIn() as service:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        for name in ("KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_API_ENVIRONMENT", "KAGGLE_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield service
    assert service.crashes == []
