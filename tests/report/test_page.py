from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from helpers.finished_study import SMALL, build_study, evaluation, make_reconstructions, rewrite

from apmae.common.errors import ApmaeError
from apmae.common.progress import silent
from apmae.report.stage import write_report
from apmae.study import Study
from apmae.study import artifacts as files

FIGURES = {
    "effects",
    "leading_heads",
    "roles",
    "target_accuracy",
    "prediction_held_out",
    "prediction_cross_validation",
    "clusters_per_head",
    "gallery",
    "reconstruction",
    "importance",
    "mean_shap",
    "attention_adds",
    "reliability",
    "risk_coverage",
    "intervention_overview",
    "intervention_tasks",
    "intervention_variants",
    "token_classes",
    "token_importance",
    "training_loss",
}


HOSTILE = "</script><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def make(study: Study, reconstructions: int = 1) -> tuple[dict[str, object], Page, set[str]]:
    items = make_reconstructions(reconstructions, tokens=64) if reconstructions else []
    counts = write_report(study, items, "0123456789abcdef", silent)
    figures = {path.name for path in study.path("report/figures").iterdir()}
    return counts, Page(study.path(files.REPORT_INDEX).read_text(encoding="utf-8")), figures


@pytest.fixture(scope="module")
def hostile_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A small study whose source files try to write markup; its report is made."""
    study = build_study(tmp_path_factory.mktemp("hostile") / "study", **SMALL)
    prompts = study.prompts.with_columns(text=pl.lit(HOSTILE), file=pl.lit(f"a/{HOSTILE}.java"))
    rewrite(study, files.PROMPTS, prompts)
    make(study)
    return study


@pytest.fixture(scope="module")
def html(hostile_study: Study) -> str:
    return hostile_study.path(files.REPORT_INDEX).read_text(encoding="utf-8")


def test_figures_are_saved_and_counted(hostile_study: Study) -> None:
    names = {path.name for path in hostile_study.path("report/figures").iterdir()}
    assert names == {f"{name}.{kind}" for name in FIGURES for kind in ("svg", "png")}


def test_the_page_says_which_weights_the_target_has(html: str) -> None:
    text = " ".join(Page(html).text.split())
    assert "(Made-1, 4-bit Q4_1, SHA-256 0123456789ab…)" in text
    assert "named “A Run's Name” in its file, in place of Other.gguf of the package made_up" in text
    assert f"Made-1.Q4_1.gguf, SHA-256 0123456789ab{52 * 'c'}" in text


def test_pictures_are_embedded_and_described(html: str) -> None:
    images = Page(html).attributes("img")
    assert len(images) == len(FIGURES) + 6  # six tiles and their colour scale, for the gallery's one
    assert all(image["alt"] for image in images)
    assert all(str(image["src"]).startswith("data:image/svg+xml;base64,") for image in images)


def test_links_lead_somewhere(hostile_study: Study, html: str) -> None:
    page = Page(html)
    targets = {str(attributes["href"]) for attributes in page.attributes("a")}
    ids = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    inside = {target for target in targets if target.startswith("#")}
    assert len(inside) == 13
    assert inside <= ids
    assert all(hostile_study.path(files.REPORT).joinpath(target).exists() for target in targets - inside)


def test_folds_of_groups_have_their_own_tables_without_clusters(html: str) -> None:
    start = html.index("<table", html.index("Cross-validation over groups"))
    tables = html[start : html.index("</details>", start)]
    assert tables.count("<table") == 6  # accuracy, three AUROCs, and differences from confidence and strong
    assert "row statistics" in tables
    assert "clusters" not in tables


def test_the_papers_measures_have_their_tables(small_study: Callable[..., Study]) -> None:
    study = small_study()
    crossed = study.predictions.with_columns(protocol=pl.lit("cross_validation"))
    rewrite(study, files.PREDICTIONS, pl.concat([study.predictions, crossed]))
    text = " ".join(make(study)[1].text.split())
    for title in ("over the folds of the cross-validation", "means over tasks", "Collapse: the fewest heads"):
        assert title in text
    assert "docs/paper.md" in text


def test_page_says_how_it_was_made(html: str) -> None:
    text = Page(html).text
    assert "0123456789abcdef" in text
    assert "12 min 17 s" in text
    assert "length_tokens: 64" in text


def test_page_says_what_the_prompts_are(html: str) -> None:
    text = Page(html).text
    assert "of 64 tokens, fill in the middle" in text
    assert "12 made-up files" in text


def test_feature_sets_baselines_and_differences_have_their_tables(html: str) -> None:
    labels = {str(table["aria-label"]) for table in Page(html).attributes("table")}
    for start in (
        "AUROC (95% CI",
        "Accuracy (95% CI",
        "AUROC, difference from confidence",
        "AUROC of the baselines",
    ):
        assert any(label.startswith(start) for label in labels), start
    text = " ".join(Page(html).text.split())
    assert "Fitted on shuffled labels" in text
    assert "Heads that matter most to the linear model of row statistics" in text
    assert "Agreement of folds is the rank correlation" in text


def test_sweeps_are_labelled_and_the_identity_condition_is_told(html: str) -> None:
    text = " ".join(Page(html).text.split())
    assert "Uncorrected sweeps of every condition" in text
    assert "Run unchanged, 0 of 48 prompts have another outcome" in text
    assert "At best" not in text
    assert "Best condition" not in text


def test_text_of_source_files_cannot_become_markup(html: str) -> None:
    page = Page(html)
    assert HOSTILE not in html
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in html
    assert page.attributes("script") == []
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert HOSTILE in page.text
    assert "<script>alert(1)</script>" in page.text  # the corpus path


def test_page_forbids_scripts_and_the_network(html: str) -> None:
    metas = Page(html).attributes("meta")
    policy = [meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_no_encoder_to_show_leaves_the_section_with_a_reason(small_study: Callable[..., Study]) -> None:
    study = small_study()
    study.path(files.TRAINING_HISTORY).unlink()
    stale = study.path("report/figures/reconstruction.svg")
    stale.parent.mkdir(parents=True)
    stale.write_text("of an earlier report")
    counts, page, figures = make(study, reconstructions=0)
    assert counts == {"figures": 18, "sections": 13, "reconstructions": 0}
    assert {figure.removesuffix(".svg").removesuffix(".png") for figure in figures} == FIGURES - {
        "reconstruction",
        "training_loss",
    }
    assert [
        path.name for path in study.path(files.REPORT).parent.iterdir() if path.name.startswith(".")
    ] == []
    assert "Not shown: there is no reconstruction" in page.text
    assert "The encoder was not trained in this study." in page.text


def test_tasks_that_lack_results_are_left_out(small_study: Callable[..., Study]) -> None:
    study = small_study(tasks=("eol", "identifiers", "noise"))
    for table in (files.IMPORTANCE, files.INTERVENTIONS):
        rewrite(study, table, study.read(table).filter(task="identifiers"))
    nothing = pl.lit(float("nan"))
    metrics = study.metrics.with_columns(value=nothing, low=nothing, high=nothing)
    rewrite(study, files.METRICS, metrics)
    counts, page, _ = make(study)
    assert counts["figures"] == 20
    assert "Not measured on held-out groups." in page.text
    assert "n/a" in page.text
    assert "identifiers: 18 conditions" in page.text
    assert "eol: 18 conditions" not in page.text


def test_study_without_importance_and_interventions(small_study: Callable[..., Study]) -> None:
    study = small_study()
    rewrite(study, files.IMPORTANCE, study.importance.clear())
    rewrite(study, files.INTERVENTIONS, study.interventions.clear())
    rewrite(study, files.METRICS, study.metrics.clear())
    rewrite(study, files.PREDICTIONS, study.predictions.clear())
    counts, page, _ = make(study)
    assert counts == {"figures": 10, "sections": 12, "reconstructions": 1}
    assert "Nothing was predicted." in page.text
    assert "No intervention was run." in page.text


def test_members_of_a_cluster_and_noise_are_drawn_where_there_is_a_target(
    small_study: Callable[..., Study],
) -> None:
    study = small_study(tasks=("eol", "noise"))
    asked = []

    def patterns_of(prompt: int, heads: list[tuple[int, int]]) -> np.ndarray:
        asked.append((prompt, *heads))
        return np.tril(np.ones((len(heads), 64, 64), np.float16))

    write_report(study, [], "0123456789abcdef", silent, patterns_of)
    page = Page(study.path(files.REPORT_INDEX).read_text(encoding="utf-8"))
    assert study.path("report/figures/cluster_members.svg").exists()
    assert "figures 2 (b) and 2 (c)" in page.text
    tasks = dict(study.study_prompts.select("prompt_id", "task").iter_rows())
    members, noise = asked[:-5], asked[-5:]
    assert 1 <= len(members) <= 5
    assert len({head for _, head in members}) == 1
    assert [tasks[prompt] for prompt, _ in noise] == ["noise"] * 5


def test_one_task_one_head_one_condition(small_study: Callable[..., Study]) -> None:
    study = small_study(tasks=("eol",), n_layers=1, n_heads=1, head_counts=(1,), exemplar_heads=1)
    counts, page, _ = make(study)
    assert counts["figures"] == 20
    assert "Head L0H0 leads for eol." in page.text


def test_an_evaluation_in_the_studys_directory_is_shown(small_study: Callable[..., Study]) -> None:
    study = small_study()
    rewrite(study, files.EVALUATION, evaluation())
    counts, page, figures = make(study)
    assert counts["figures"] == len(FIGURES) + 1
    assert {"evaluation.svg", "evaluation.png"} <= figures
    assert "made/target-1: 64 prompts, 92,160 patterns" in page.text
    assert {"href": "#cross_evaluation"} in page.attributes("a")
    assert "†" in page.text


def test_a_missing_artifact_is_named(small_study: Callable[..., Study]) -> None:
    study = small_study()
    study.path(files.METRICS).unlink()
    with pytest.raises(ApmaeError, match=r"metrics\.parquet is gone"):
        make(study)
