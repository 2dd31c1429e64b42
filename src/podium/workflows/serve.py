"""`podium report --serve`: the pages of all runs on localhost, the newest first, while they train."""

import html
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from podium.errors import MachineError, PodiumError
from podium.options import RunOptions
from podium.workflows.detector_report import find_detector_run, write_detector_page
from podium.workflows.report import write_report_page
from podium.workflows.subject import newest_runs, subject_at

SECONDS = 15
"""Between two requests of an open page."""


def make_server(options: RunOptions, port: int) -> ThreadingHTTPServer:
    """A server that answers this machine only. `/` is the newest run, `/<run>/fold<k>` any of them."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Host", "").partition(":")[0] not in ("127.0.0.1", "localhost"):  # a page of the web
                self.send_error(HTTPStatus.FORBIDDEN)
                return
            runs = newest_runs(options.runs)
            wanted = unquote(self.path).strip("/")
            run = next((path for path in runs if wanted in ("", _name(path))), None)
            if run is None:
                self._answer(HTTPStatus.NOT_FOUND, _message("no such run" if runs else "no run yet"))
                return
            try:
                page = _page(run, options)
            except PodiumError as error:  # the run is just being started
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, _message(str(error)))
                return
            self._answer(HTTPStatus.OK, page.replace("<main>", f"<main>{_links(runs, run)}", 1))

        def _answer(self, status: HTTPStatus, page: str) -> None:
            """The browser requests the page again automatically, so that it follows the training."""
            content = page.encode(errors="replace")
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Refresh", str(SECONDS))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Requests are not logged."""

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Pages)
    except OSError as error:
        raise MachineError(f"port {port} cannot be used ({error.strerror}); choose another one with --port") from None


def _message(text: str) -> str:
    return f"<!doctype html><meta charset=utf-8><title>podium</title><p>{html.escape(text)}</p>"


def _name(run: Path) -> str:
    return f"{run.parent.name}/{run.name}"


def _page(run: Path, options: RunOptions) -> str:
    """The page of a run, written again if it has trained since."""
    page = run / "report.html"
    if not page.is_file() or page.stat().st_mtime < (run / "history.csv").stat().st_mtime:
        detector = find_detector_run(run)
        if detector:
            write_detector_page(detector, options)
        else:
            write_report_page(subject_at(run), options, with_images=False)
    return page.read_text(encoding="utf-8")


def _links(runs: list[Path], shown: Path) -> str:
    names = [html.escape(_name(run)) for run in runs[:20]]
    links = [name if run == shown else f'<a href="/{name}">{name}</a>' for run, name in zip(runs, names, strict=False)]
    items = "".join(f"<li>{link}</li>" for link in links)
    return f'<nav aria-label="Runs"><ul>{items}</ul></nav>'
