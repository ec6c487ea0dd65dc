from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from helpers.finished_study import evaluation, make_reconstructions
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from apmae.autoencoder.reconstruction import Reconstruction
from apmae.figures import head_maps, style
from apmae.report.data import ReportData
from apmae.report.section import Drawing
from apmae.report.sections import SECTIONS, clusters, importance, reconstruction
from apmae.study import Study
from apmae.study.artifacts import EVALUATION


@pytest.fixture(scope="module")
def data(made_up_study: Study) -> Iterator[ReportData]:
    made_up_study.write(EVALUATION, evaluation())
    yield ReportData(made_up_study, make_reconstructions(2), "key")
    made_up_study.path(EVALUATION).unlink()


def drawings(data: ReportData) -> list[Drawing]:
    sections = [section(data) for section in SECTIONS]
    return [drawing for section in sections if section for drawing in section.figures]


def drawn(figure: Figure) -> RendererAgg:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer()


def tick_labels_overlap(axes: Axes, renderer: RendererAgg) -> bool:
    for axis, low, high in ((axes.xaxis, "x0", "x1"), (axes.yaxis, "y0", "y1")):
        shown = [tick for tick in axis.get_major_ticks() if tick.label1.get_visible()]
        boxes = [tick.label1.get_window_extent(renderer) for tick in shown if tick.label1.get_text()]
        boxes.sort(key=lambda box: getattr(box, low))
        if any(getattr(a, high) > getattr(b, low) for a, b in pairwise(boxes)):
            return True
    return False


def test_every_figure_has_a_title_axis_names_and_room_for_its_ticks(data: ReportData) -> None:
    for drawing in drawings(data):
        figure = drawing.draw()
        renderer = drawn(figure)
        assert figure.get_suptitle(), drawing.name
        named_once = {"x": figure.get_supxlabel(), "y": figure.get_supylabel()}
        for axes in figure.axes:
            assert not tick_labels_overlap(axes, renderer), drawing.name
            if axes.get_subplotspec() is None:
                assert axes.get_xlabel() or axes.get_ylabel(), f"{drawing.name}: colour bar"
                continue
            first_column = axes.get_subplotspec().is_first_col()
            if first_column:
                assert axes.get_ylabel() or named_once["y"], drawing.name
            if any(label.get_visible() for label in axes.get_xticklabels()):
                assert axes.get_xlabel() or named_once["x"], drawing.name


def test_no_text_is_cut_off_or_lies_on_other_text(data: ReportData) -> None:
    for drawing in drawings(data):
        figure = drawing.draw()
        renderer = drawn(figure)
        texts = figure.findobj(Text, include_self=False)
        ticks = {id(text) for axis in figure.findobj(Axis) for text in axis.get_ticklabels(which="both")}
        boxes = [
            text.get_window_extent(renderer)
            for text in texts
            if id(text) not in ticks and text.get_visible() and text.get_text().strip()
        ]
        assert all(figure.bbox.containsx(x) for box in boxes for x in (box.x0, box.x1)), drawing.name
        assert all(figure.bbox.containsy(y) for box in boxes for y in (box.y0, box.y1)), drawing.name
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2)), drawing.name


def test_every_caption_names_a_paper_figure_or_says_that_there_is_none(data: ReportData) -> None:
    for drawing in drawings(data):
        assert "aper" in drawing.caption, drawing.name
        assert drawing.alt.endswith("."), drawing.name


@pytest.mark.parametrize("shape", [(1, 1), (30, 9), (40, 48)])
def test_ticks_of_a_head_map_are_whole_numbers_that_do_not_overlap(shape: tuple[int, int]) -> None:
    layers, heads = np.indices(shape).reshape(2, -1)
    counts = pl.DataFrame({"layer": layers, "head": heads, "n_clusters": layers % 5})
    figure = clusters.clusters_per_head(counts, shape)
    renderer = drawn(figure)
    for axes in figure.axes:
        assert not tick_labels_overlap(axes, renderer)
    texts = [tick.get_text() for tick in figure.axes[0].get_xticklabels() + figure.axes[0].get_yticklabels()]
    assert all(text.replace("−", "-").lstrip("-").isdigit() for text in texts), texts


def test_heads_without_a_value_are_nan_in_the_grid() -> None:
    table = pl.DataFrame({"layer": [0, 1], "head": [1, 0], "max_difference": [0.5, None]})
    grid = head_maps.head_grid(table, "max_difference", (2, 2))
    np.testing.assert_array_equal(grid, [[np.nan, 0.5], [np.nan, np.nan]])


def test_importance_tasks_share_one_colour_scale(data: ReportData) -> None:
    figure = importance.importance(data.importance, data.top_heads, data.shape)
    limits = {axes.images[0].get_clim() for axes in figure.axes if axes.images}
    assert limits == {(0.0, data.importance["max_difference"].max())}


def test_the_agreement_of_folds_stands_beside_a_tasks_name(data: ReportData) -> None:
    agreement = pl.when(pl.col("task") == "eol").then(0.4321).otherwise(float("nan"))
    table = data.importance.with_columns(rank_correlation=agreement)
    figure = importance.importance(table, data.top_heads, data.shape)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert "eol (0.43)" in titles
    assert "identifiers" in titles


def test_masked_patches_are_grey_and_what_is_never_attended_is_white() -> None:
    pattern = np.array([[0.0, 0.0], [np.nan, 1.0]], dtype=np.float32)
    item = Reconstruction(0, 0, 0, 0.1, pattern, pattern, pattern)
    (row,) = [reconstruction.reconstructions([item]).axes[:3]]
    shown = np.asarray(row[1].images[0].get_array())
    np.testing.assert_allclose(shown[0, 1], [1, 1, 1, 1])
    np.testing.assert_allclose(shown[1, 0][:3], [0xAA / 255, 0xB2 / 255, 0xBB / 255])
    np.testing.assert_allclose(shown[1, 1][:3], [0.993248, 0.906157, 0.143936], atol=1e-5)


def test_weights_that_were_not_scaled_are_drawn_on_a_log_scale_too() -> None:
    weights = np.array([[1.0, 0.0], [np.nan, np.exp(-8)]], dtype=np.float32)
    item = Reconstruction(0, 0, 0, 0.1, weights, weights, weights)
    scaled, unscaled = (
        SimpleNamespace(
            config=SimpleNamespace(encoder=SimpleNamespace(scaling=scaling)), reconstructions=[item]
        )
        for scaling in ("absolute", "probability")
    )
    assert [drawing.name for drawing in reconstruction.section(scaled).figures] == ["reconstruction"]
    plain, logarithmic = reconstruction.section(unscaled).figures
    assert (plain.name, logarithmic.name) == ("reconstruction", "reconstruction-log")
    expected = np.array([[1.0, 0.0], [np.nan, 0.5]])
    np.testing.assert_allclose(reconstruction.on_log_scale(item).masked, expected, atol=1e-6)
    shown = logarithmic.draw().axes[0].images[0].get_array()
    middle = colormaps[style.PATTERN_COLOURS](0.5)
    np.testing.assert_allclose(shown[1, 1], middle, atol=0.01)


def test_a_figure_is_saved_as_the_same_bytes_twice(data: ReportData) -> None:
    first, second = (
        {kind: style.encode(drawings(data)[0].draw(), kind) for kind in ("svg", "png")} for _ in range(2)
    )
    assert first == second
