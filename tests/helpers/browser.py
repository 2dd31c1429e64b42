"""A page in headless Chromium, without a driver: a script is added to a copy of the page, and its result is read."""

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_browser = pytest.mark.skipif(
    BROWSER is None,
    reason="browser tests did not run: no Chromium found; install it (Debian: apt-get install chromium)",
)
_SCRIPT = """<script>
window.addEventListener("load", () => {
  const result = (() => { %s })();
  parent.document.getElementById("result-of-test").textContent = JSON.stringify(result);
});
</script></body>"""
_FRAME = """<!doctype html><body style="margin: 0"><pre id="result-of-test"></pre>
<iframe style="border: 0; width: %dpx; height: 900px" srcdoc="%s"></iframe></body>"""
"""Windows cannot be narrower than 500 pixels, frames can."""
CONTRASTS = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([red, green, blue]) => [red, green, blue].map((part) => part / 255)
  .map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
const background = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const low = [];
const texts = "h1, h2, p, a, td, th, span, figcaption, label, select, output, summary";
for (const element of document.querySelectorAll(texts)) {
  if (!element.textContent.trim() || element.closest("svg") || element.closest("pre")) continue;
  const colours = [parse(getComputedStyle(element).color), background(element)];
  const [one, other] = colours.map(light).sort((a, b) => b - a);
  const contrast = (one + 0.05) / (other + 0.05);
  const isMark = element.textContent.trim() === "●";
  if (contrast < 4.5 && !isMark) low.push([element.tagName, element.textContent.trim().slice(0, 30), contrast]);
}
return low;
"""
"""The texts with less contrast than WCAG asks of normal text."""


def look(page, script, *, width=1200, dark=False, folder=None):
    """The result of the script, which ends with a `return`, and what the browser wrote to its console."""
    copy = Path(folder or page.parent) / "copy-of-page.html"
    text = page.read_text(encoding="utf-8")
    content = text.replace("</body>", _SCRIPT % script)
    copy.write_text(_FRAME % (width, escape(content)), encoding="utf-8")
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--window-size={max(width, 500)},900",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=5000",
            "--enable-logging=stderr", "--dump-dom", copy.resolve().as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found = re.search(r'<pre id="result-of-test">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr[-2000:]
    assert found.group(1), done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(unescape(found.group(1))), console
