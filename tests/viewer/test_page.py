"""The page and its pictures, byte by byte."""

import base64
import hashlib
import re
from html import unescape
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.image import imread

from apmae.autoencoder.patterns import scale
from apmae.common.errors import ApmaeError
from apmae.figures import style
from apmae.figures.labels import label
from apmae.viewer import write_page
from apmae.viewer.drawings import GAP_PIXELS, contact_sheet, one_head
from apmae.viewer.page import encode_log_probs, page_data, render

HARD_TO_DRAW = "$\\q$ 中"  # no formula, and not in the font


class Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_the_page_says_which_weights_the_target_has(made_up_view):
    assert f"{made_up_view.weights})</dd>" in unescape(render(made_up_view, [(0, 0)], "absolute"))


def test_codes_decode_to_attention_within_a_percent(made_up_view):
    log_probs = made_up_view.log_probs
    log_probs[0, 0, 5, 2] = -700.0
    codes, floors = encode_log_probs(log_probs)
    rows, columns = np.tril_indices(log_probs.shape[-1])
    decoded = np.where(codes > 0, floors[:, None] * (65_535 - codes.astype(float)) / 65_534, -np.inf)
    expected = log_probs.flatten(0, 1).numpy()[:, rows, columns]
    assert (np.isinf(expected) == (codes == 0)).all()
    seen = codes > 0
    assert np.abs(np.expm1(decoded[seen] - expected[seen])).max() < 0.01
    assert floors[0] == -700


def test_codes_of_a_head_without_any_choice():
    codes, floors = encode_log_probs(torch.zeros(1, 1, 1, 1))
    assert (codes.tolist(), floors.tolist()) == ([[65_535]], [-1.0])


def test_the_page_writes_and_names_its_pictures(made_up_view, tmp_path):
    (tmp_path / "L7H7.png").touch()
    (tmp_path / "L7-notes.png").touch()
    index = write_page(made_up_view, [(1, 2), (0, 1)], "absolute", tmp_path)
    pictures = {"heads.png", "L1H2.png", "L0H1.png"}
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", "L7-notes.png"} | pictures
    links = {tag[1]["href"] for tag in Page(index.read_text(encoding="utf-8")).tags if tag[0] == "a"}
    assert links - {"#heads"} == pictures


@pytest.mark.parametrize("head", [(2, 0), (0, 3), (-1, 0)])
def test_a_head_that_is_not_there(made_up_view, tmp_path, head):
    with pytest.raises(ApmaeError, match=r"has no head .*: 2 layers of 3 heads, both from 0"):
        write_page(made_up_view, [head], "absolute", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_text_is_escaped(made_up_view):
    html = render(made_up_view, [(0, 0)], "absolute")
    page = Page(html)
    assert not [tag for tag, attributes in page.tags if tag == "img" or "onerror" in attributes]
    assert html.count("<script") == 2
    spans = re.findall(r'<span class="token"[^>]*>(.*?)</span>', html, re.DOTALL)
    tokens = made_up_view.prompt.tokens
    assert [unescape(span).replace("\n", "") for span in spans[2:6]] == ["if", " (", "$a$", "_{"]
    assert len(spans) == len(tokens)
    assert "\x1b" not in html


def test_the_policy_lets_in_the_pages_own_script_and_style_alone(made_up_view):
    html = render(made_up_view, [], "probability")
    policy = next(a["content"] for tag, a in Page(html).tags if a.get("http-equiv"))
    sources = dict(part.split(" ", 1) for part in policy.split("; "))
    assert sources.pop("default-src") == "'none'"
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert sources.pop(directive) == f"'sha256-{digest}'"
    assert sources == {}
    assert not [attributes for _, attributes in Page(html).tags if "style" in attributes]


def test_colours_start_where_the_scaling_has_zero(made_up_view):
    floors = page_data(made_up_view, [(1, 0)], "absolute")["floors"]
    assert page_data(made_up_view, [(1, 0)], "absolute")["ranges"] == [-16.0] * 6
    assert page_data(made_up_view, [], "min_normalized")["ranges"] == floors
    assert page_data(made_up_view, [], "probability")["ranges"] is None
    assert page_data(made_up_view, [(1, 0)], "absolute")["first"] == 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("tokens", "side"), [(24, 96), (80, 80), (300, 100)])
def test_a_pixel_of_the_contact_sheet_is_a_weight(tmp_path, tokens, side):
    patterns = torch.zeros(2, 3, tokens, tokens)
    patterns[1, 2] = torch.ones(tokens, tokens).tril()
    (tmp_path / "sheet.png").write_bytes(style.encode(contact_sheet(patterns, HARD_TO_DRAW), "png"))
    picture = imread(tmp_path / "sheet.png")
    colours = np.array(matplotlib.colormaps["viridis"]([0.0, 1.0]))
    dark, bright = ((np.abs(picture - colour) < 0.01).all(-1) for colour in colours)
    inner = side // 2 * (side // 2)
    rows, columns = np.nonzero(bright)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (side, side)
    assert bright.sum() > inner
    rows, columns = np.nonzero(dark)
    pitch = side + GAP_PIXELS
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (
        pitch + side,
        2 * pitch + side,
    )


@pytest.mark.filterwarnings("error")
def test_one_head_with_every_kind_of_label(made_up_view):
    labels = [label(text) for text in made_up_view.prompt.tokens]
    pattern = scale(made_up_view.log_probs, "absolute")[0, 1].numpy()
    labels[0] = HARD_TO_DRAW
    figure = one_head(pattern, labels, HARD_TO_DRAW, "scale")
    style.encode(figure, "png")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()][4:8] == ["$a$", "_{", "\\u4e2d", "⋯"]
    assert np.isnan(axes.images[0].get_array().filled(np.nan)).sum() == 24 * 23 // 2


def test_one_head_of_many_tokens_names_every_second():
    figure = one_head(np.zeros((200, 200), np.float32), [str(index) for index in range(200)], "n", "s")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()][:3] == ["0", "2", "4"]
