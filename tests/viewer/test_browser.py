"""The page in a real browser: it fits, loads nothing, draws the patterns and names exact weights."""

import base64
import hashlib

import matplotlib
import numpy as np
import pytest
from helpers.browser import seen_in_frames

from apmae.autoencoder.patterns import scale
from apmae.figures.labels import label
from apmae.viewer.page import render

WIDTHS = (1440, 390)

# Uses the page as a reader would, and reports what there is to see.
PROBE = """
const stopped = [];
addEventListener("securitypolicyviolation", event => stopped.push(event.blockedURI));
addEventListener("load", () => {
  const find = id => document.getElementById(id);
  const fire = (element, kind, more) => element.dispatchEvent(new PointerEvent(kind, more));
  const pixels = canvas => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
  const wide = [...document.querySelectorAll("main *, header *")]
    .filter(element => !element.closest(".scroll, .skip"))
    .filter(element => element.getBoundingClientRect().right > innerWidth + 0.5)
    .map(element => element.outerHTML.slice(0, 80));
  const heads = [...document.querySelectorAll(".head")];
  const seen = {width: innerWidth, wide, scroll: document.scrollingElement.scrollWidth};
  seen.thumbnails = heads.map(pixels);
  seen.firstHead = find("head-name").textContent;
  heads[4].click();
  seen.clickedHead = find("head-name").textContent;
  seen.scrolls = heads[4].dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", cancelable: true}));
  seen.nextHead = find("head-name").textContent;
  seen.focused = heads.indexOf(document.activeElement);
  seen.checked = heads.map(head => head.getAttribute("aria-checked")).indexOf("true");
  seen.stops = heads.map(head => head.tabIndex);
  const large = find("large");
  const side = (large.clientWidth - LABEL_COLUMN) / 24;
  const at = (query, key) => fire(large, "pointermove", {
    clientX: large.getBoundingClientRect().left + LABEL_COLUMN + (key + 0.5) * side,
    clientY: large.getBoundingClientRect().top + (query + 0.5) * side,
  });
  seen.readouts = [[20, 18], [20, 3], [3, 20]].map(([query, key]) => {
    at(query, key);
    return find("readout").textContent;
  });
  fire(large, "pointerleave");
  const tokens = [...document.querySelectorAll(".token")];
  tokens[10].click();
  seen.caption = find("keys-caption").textContent;
  seen.keys = [...find("keys").rows].map(row => [...row.cells].map(field => field.textContent));
  seen.weights = tokens.map(token => Number(token.style.getPropertyValue("--weight")));
  seen.loaded = performance.getEntriesByType("resource").map(entry => entry.name);
  seen.stopped = stopped;
  parent.postMessage(seen, "*");
});
"""


@pytest.fixture
def seen(made_up_view, tmp_path):
    def use(scaling):
        html = render(made_up_view, [(1, 0)], scaling)
        digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
        copy = html.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
        copy = copy.replace("<title>", f"<script>{PROBE}</script><title>", 1)
        assert copy.count(digest) == 1
        return seen_in_frames(copy, tmp_path, WIDTHS)

    return use


def test_page_fits_and_answers(made_up_view, seen):
    results = seen("absolute")
    assert set(results) == set(WIDTHS)
    weights = made_up_view.log_probs[1, 2].exp().numpy()
    tokens = made_up_view.prompt.tokens
    for width, result in results.items():
        assert (result["wide"], result["scroll"] <= width) == ([], True)
        assert (result["loaded"], result["stopped"]) == ([], [])
        assert (result["firstHead"], result["clickedHead"], result["nextHead"]) == (
            "Head L1H0",
            "Head L1H1",
            "Head L1H2",
        )
        assert (result["focused"], result["checked"], result["scrolls"]) == (5, 5, False)
        assert result["stops"] == [-1, -1, -1, -1, -1, 0]
        near, far, later = result["readouts"]
        said, _, percent = near.rpartition(": ")
        assert said == f"From 20 {label(tokens[20])} to 18 {label(tokens[18])}"
        assert float(percent.rstrip("%")) == pytest.approx(100 * weights[20, 18], rel=0.01)
        assert far.endswith(": none")
        assert later.endswith("is still to come.")
        assert result["caption"] == "Where it looks from 10 ·foo"
        order = np.argsort(-weights[10])[:4]
        assert [int(position) for _, position, _ in result["keys"]] == order.tolist()
        assert [text for text, _, _ in result["keys"]] == [label(tokens[index]) for index in order]
        assert [float(percent.rstrip("%")) for _, _, percent in result["keys"]] == pytest.approx(
            (100 * weights[10, order]).tolist(), rel=0.01
        )
        assert result["weights"] == pytest.approx(np.sqrt(weights[10]).tolist(), abs=0.01)


@pytest.mark.parametrize("scaling", ["absolute", "min_normalized", "probability"])
def test_thumbnails_have_the_colours_of_the_scaled_patterns(made_up_view, seen, scaling):
    patterns = scale(made_up_view.log_probs, scaling).flatten(0, 1).numpy()
    colours = matplotlib.colormaps["viridis"](patterns)[..., :3]
    colours[:, np.triu(np.ones(patterns.shape[1:], bool), 1)] = 1
    for result in seen(scaling).values():
        drawn = np.array(result["thumbnails"]).reshape(*patterns.shape, 4)[..., :3] / 255
        assert np.abs(drawn - colours).max() < 0.03
