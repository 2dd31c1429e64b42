"""Calls of the official client's typed services: built, sent with retries, page by page, and parsed."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

from podium.errors import KaggleError
from podium.kaggle import responses
from podium.kaggle.connection import Connection
from podium.retries import with_retries

PAGE_SIZE = 100
Result = TypeVar("Result")


class Service:
    """One of the official client's typed services: its methods, called with the fields of their requests."""

    def __init__(self, connection: Connection, service: str, types: str) -> None:
        self._connection, self._service, self._types = connection, service, types

    def request(self, method: str, **fields: Any) -> Callable[[], Any]:
        """A call of `method` that is ready to be sent; fields that are None are left out."""
        name = f"Api{method.title().replace('_', '')}Request"
        request = getattr(import_module(f"kagglesdk.{self._types}"), name)()
        for field, value in fields.items():
            if value is not None:
                setattr(request, field, value)
        return partial(self._connection.call, self._service, method, request)

    def pages(
        self,
        what: str,
        method: str,
        parse: Callable[[Any], list[Result]],
        page_size: int = PAGE_SIZE,
        **fields: Any,
    ) -> list[Result]:
        """The items of all pages of a list."""

        def parse_page(page: Any) -> tuple[list[Result], str]:
            return parse(page), responses.text(page.next_page_token)

        found: list[Result] = []
        tokens = [""]
        while True:
            send = self.request(method, page_size=page_size, page_token=tokens[-1] or None, **fields)
            items, token = call(what, send, parse_page)
            found += items
            if not token:
                return found
            if token in tokens:
                raise KaggleError(f"{what}: Kaggle sent the same page twice; try again later")
            tokens.append(token)


def call(what: str, send: Callable[[], Any], parse: Callable[[Any], Result], *, once: bool = False) -> Result:
    """Send a request and parse its response; a response that cannot be parsed is retried like a failed request."""
    return with_retries(what, lambda: parse(send()), once=once)
