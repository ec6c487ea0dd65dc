"""The page in a real browser: it fits a wide and a narrow screen, and loads nothing."""

from __future__ import annotations

from pathlib import Path

from helpers.browser import seen_in_frames
from helpers.finished_study import make_reconstructions

from apmae.common.progress import silent
from apmae.report.stage import write_report
from apmae.study import Study
from apmae.study.artifacts import REPORT_INDEX

WIDTHS = (1440, 390)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

# Runs inside the page's copy: reports how wide it is and everything that its policy had to stop.
PROBE = """<script>
const stopped = [];
addEventListener("securitypolicyviolation", event => stopped.push(event.blockedURI));
addEventListener("load", () => {
  const root = document.scrollingElement;
  const beyond = [...document.querySelectorAll("main *, header *, nav *")]
    .filter(element => !element.closest(".scroll, pre, details, .skip"))
    .filter(element => element.getBoundingClientRect().right > innerWidth + 0.5)
    .map(element => element.outerHTML.slice(0, 80));
  const loaded = performance.getEntriesByType("resource").map(entry => entry.name);
  const broken = [...document.images].filter(image => !image.naturalWidth).length;
  parent.postMessage({width: innerWidth, scroll: root.scrollWidth, beyond, loaded, stopped, broken,
                      images: document.images.length}, "*");
});
</script>"""


def probe(html: str, directory: Path) -> dict[int, dict]:
    """What `PROBE` saw, by width of the window."""
    assert POLICY in html
    copy = html.replace(POLICY, f"{POLICY}; script-src 'unsafe-inline'", 1).replace(
        "<title>", PROBE + "<title>", 1
    )
    return seen_in_frames(copy, directory, WIDTHS)


def test_report_fits_its_window_and_loads_nothing(made_up_study: Study, tmp_path: Path) -> None:
    write_report(made_up_study, make_reconstructions(2), "key", silent)
    results = probe(made_up_study.path(REPORT_INDEX).read_text(encoding="utf-8"), tmp_path)
    assert set(results) == set(WIDTHS)
    for width, result in results.items():
        assert result["scroll"] <= width
        assert result["beyond"] == []
        assert (result["loaded"], result["stopped"]) == ([], [])
        assert result["images"] > 20
        assert result["broken"] == 0


def test_probe_sees_a_page_that_breaks_the_rules(tmp_path: Path) -> None:
    html = (
        f'<!DOCTYPE html><meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>x</title>'
        '<main><div style="width: 500px">wide</div><img src="https://example.invalid/x.png"></main>'
    )
    results = probe(html, tmp_path)
    assert results[390]["scroll"] > 390
    assert len(results[390]["beyond"]) == 1
    assert results[1440]["beyond"] == []
    for result in results.values():
        assert result["stopped"] == ["https://example.invalid/x.png"]
        assert result["broken"] == 1
