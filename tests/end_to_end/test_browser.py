"""Pages in headless Chromium: they load without errors and requests, can be filtered, and are readable everywhere."""

from pathlib import Path

import pytest
import yaml
from browser import CONTRASTS, look, needs_browser

HOSTILE = "<img src=x onerror=document.title='hacked'>"
pytestmark = [pytest.mark.slow, needs_browser]
FILTER = """
const select = document.querySelector("select[name=true]");
const items = [...document.querySelectorAll("#list > li")];
const count = () => items.filter((item) => getComputedStyle(item).display !== "none").length;
const all = count();
select.value = items[0].dataset.true;
select.dispatchEvent(new Event("change", {bubbles: true}));
const wanted = items.filter((item) => item.dataset.true === select.value).length;
return [all, items.length, count(), wanted, document.getElementById("shown").textContent];
"""


@pytest.fixture
def pages(finished_ensemble, tmp_path, podium):
    """The pages of a blend, of a run whose competition has a hostile name, and of its data."""
    finished_ensemble.copy_to(tmp_path)
    data = ["--data", finished_ensemble.competition.folder]
    made = {"blend": podium("report", finished_ensemble.ensemble, *data, "--explain").out.strip()}
    for path in Path("runs").glob("*/fold*/config.yaml"):
        content = yaml.safe_load(path.read_text())
        content["competition"]["classes"]["0"] = content["competition"]["title"] = HOSTILE
        path.write_text(yaml.safe_dump(content))
    made["run"] = podium("report", "--data", finished_ensemble.competition.folder).out.strip()
    podium("data", "check", finished_ensemble.competition.config, *data)
    return {**made, "data": "runs/data-check/tiny-squares/index.html"}


def test_pages_work_in_a_browser(pages, subtests):
    for name, page in pages.items():
        path = Path(page)
        with subtests.test(f"{name}: no error, no request, no foreign markup"):
            script = "return [performance.getEntriesByType('resource').map((entry) => entry.name), document.title]"
            (requests, title), console = look(path, script)
            assert console == []
            assert [request for request in requests if not request.startswith("data:")] == []
            assert title != "hacked"
        with subtests.test(f"{name}: no sideways scrolling on a phone"):
            script = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
            (wide, visible), _ = look(path, script, width=390)
            assert wide <= visible
        for dark in (False, True):
            with subtests.test(f"{name}: contrast", dark=dark):
                low, _ = look(path, CONTRASTS, dark=dark)
                assert low == []
    with subtests.test("dark and light differ"):
        script = "return getComputedStyle(document.body).backgroundColor"
        assert look(Path(pages["data"]), script)[0] != look(Path(pages["data"]), script, dark=True)[0]
    with subtests.test("the filter"):
        (everything, items, shown, wanted, text), _ = look(Path(pages["blend"]), FILTER)
        assert everything == items
        assert 0 < shown == wanted
        assert text == f"{shown} shown"
