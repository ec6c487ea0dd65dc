"""Pages in a real browser, for the tests: a page's copy reports by itself what a reader would see."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

HOST = """<!DOCTYPE html><body><pre id="results"></pre><script>
const results = [];
addEventListener("message", event => {
  results.push(event.data);
  document.getElementById("results").textContent = JSON.stringify(results);
});
</script>%s</body>"""


def chromium():
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium found; install it with `apt-get install chromium`")
    return found


def seen_in_frames(html, directory, widths):
    """What a page posts to the window around it, `{"width": innerWidth, ...}`, by width of its window."""
    (directory / "copy.html").write_text(html, encoding="utf-8")
    frames = "".join(
        f'<iframe src="copy.html" width="{w}" height="900" frameborder="0"></iframe>' for w in widths
    )
    (directory / "host.html").write_text(HOST % frames, encoding="utf-8")
    command = [
        chromium(),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={directory / 'profile'}",
        "--virtual-time-budget=10000",
        "--dump-dom",
        (directory / "host.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.search(r'<pre id="results">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    return {result["width"]: result for result in json.loads(unescape(found[1]))}
