"""Every token of a file: windows that cover it, scores that equal the study's, and what people see."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from scipy.special import expit
from typer.testing import CliRunner

from apmae.cli import app
from apmae.common.errors import ApmaeError
from apmae.scoring import TokenScorer, as_sarif, terminal_text, tokens_as_json, write_token_page
from apmae.scoring.token_page import LEVELS
from apmae.study.artifacts import TOKEN_PREDICTOR
from apmae.token_study.columns import Tokens, inputs_of
from apmae.token_study.measurement import ALL
from apmae.token_study.models import Inputs, fit
from apmae.token_study.predictor import TokenPredictor

LENGTH, CONTEXT = 64, 40
TEXT = """package p;

/** A comment, <b>&amp;</b> "quoted". */
class Score {
\tint total = 0;
\tint add(int first, int second) { return first + second; }
\tString name() { return "</pre><script>alert(1)</script>"; }
}
"""


@pytest.fixture(scope="module")
def study(token_study):
    return token_study


@pytest.fixture(scope="module")
def scorer(study):
    return TokenScorer.load(study.directory)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "Score.java"
    path.write_text(TEXT * 4)
    return path


def test_a_windows_tokens_get_the_studys_own_predictions(study, scorer):
    tokens = Tokens.of(study)
    rows, train = np.arange(len(tokens.table)), tokens.rows("train")
    features = study.config.token_predictor.features
    inputs = inputs_of(tokens, features, rows, train)
    expected = expit(TokenPredictor.load(study.path(TOKEN_PREDICTOR), features).log_odds(inputs))
    leading = len(scorer._formatter.leading_ids)
    window = 7
    ids = np.array(study.windows["input_ids"][window].to_list()[leading:], dtype=np.int32)
    found = {score["number"] + leading: score for score in scorer._run(ids, CONTEXT, [range(len(ids))])}
    assert set(found) == set(range(CONTEXT, LENGTH))
    for row in np.flatnonzero((tokens.table["window"] == window).to_numpy()):
        known = tokens.table.row(int(row), named=True)
        score = found[known["place"]]
        assert score["probability"] == pytest.approx(expected[row], abs=1e-3)
        assert score["correct"] == known["correct"]
        assert score["written"] == pytest.approx(known["next_token_probability"], abs=1e-5)


@pytest.mark.parametrize("tokens", [3, 20, LENGTH - 1, LENGTH, LENGTH + 1, 100, 333])
def test_windows_cover_a_text_with_enough_before_every_token(scorer, tokens):
    leading, seen = len(scorer._formatter.leading_ids), {}
    for first, windows in scorer.windows(tokens):
        assert len({len(window) for window in windows}) == 1
        for window in windows:
            assert 0 <= window.start < window.stop <= tokens
            for place in range(first, leading + len(window)):
                seen.setdefault(window.start + place - leading, place)
    assert set(seen) == set(range(max(0, 2 - leading), tokens))
    assert all(place >= min(number + leading, CONTEXT) for number, place in seen.items())


def test_a_text_is_its_pieces_and_its_tokens_have_their_lines(scorer):
    scored = scorer.score(TEXT * 4)
    assert "".join(scored.pieces) == TEXT * 4
    assert set(scored.scores) == set(range(2, len(scored.pieces)))
    for number in (5, 70, len(scored.pieces) - 1):
        score = scored.scores[number]
        start = len("".join(scored.pieces[:number]))
        assert (score.number, score.text) == (number, scored.pieces[number])
        assert score.line == (TEXT * 4).count("\n", 0, start) + 1
        assert score.correct == (score.predicted == score.text)
        assert 0 < score.probability < 1
        assert len(score.heads) == 3
    with pytest.raises(ApmaeError, match="too short to score"):
        scorer.score("a")


def test_heads_of_a_linear_predictor_add_up_to_what_they_move(study):
    """With the heads' features at their means, the log-odds lack exactly the contributions."""
    tokens = Tokens.of(study)
    train = tokens.rows("train")
    inputs = inputs_of(tokens, "confidence+rows", train, train)
    table = tokens.table[train]
    groups = table["group"].rank("dense").to_numpy().astype(np.int64)
    correct = table["correct"].to_numpy()
    classifier = fit("linear", inputs, correct, np.ones(len(train)), groups, 0)
    predictor = TokenPredictor("confidence+rows", "linear", classifier)
    at_mean = np.broadcast_to(classifier.heads.mean.numpy(), inputs.heads.shape)
    spread = (inputs.heads - at_mean) / classifier.heads.scale.numpy()
    inside = np.flatnonzero((np.abs(spread) < 5).all((1, 2)))  # what is beyond is clamped
    log_odds, moved = predictor.explain(inputs)
    without = predictor.log_odds(Inputs(inputs.plain, at_mean))
    np.testing.assert_allclose(log_odds, predictor.log_odds(inputs), atol=1e-5)
    np.testing.assert_allclose(moved.sum(1)[inside], (log_odds - without)[inside], atol=1e-4)
    assert len(inside) > 50


def test_metrics_are_of_the_test_groups_and_stand_beside_confidence(study):
    metrics = study.token_metrics
    without, features = "confidence+occurrences+hidden", "confidence+occurrences+hidden+rows+copies"
    assert set(metrics["features"]) == {"confidence", without, features}
    assert metrics.filter(syntax=ALL)["tokens"].unique().to_list() == [
        study.tokens.filter(split="test").height
    ]
    differences = metrics.filter(difference_from="confidence")
    assert set(differences["features"]) == {without, features}
    assert set(metrics.filter(difference_from=without)["features"]) == {"confidence", features}
    assert metrics.filter(difference_from="")["p"].is_nan().all()


def test_a_page_shows_the_text_and_lets_nothing_in(scorer, source, tmp_path):
    scored = scorer.score(source.read_text())
    page = write_token_page(scorer, source, scored, tmp_path / "pages" / "Score.java.html").read_text()
    assert "<script" not in page
    assert "default-src 'none'" in page

    class Code(HTMLParser):
        lines, inside, hints = [], False, 0

        def handle_starttag(self, tag, attrs):
            if tag == "pre":
                self.inside = True
                self.lines.append("")
            self.hints += tag == "span" and "title" in dict(attrs)

        def handle_endtag(self, tag):
            self.inside &= tag != "pre"

        def handle_data(self, data):
            if self.inside:
                self.lines[-1] += data

    code = Code()
    code.feed(page)
    assert [line.replace("↵", "") for line in code.lines] == (TEXT * 4).splitlines()
    assert code.hints >= len(scored.scores)
    assert {int(level) for level in re.findall(r'class="p(\d+)', page)} <= set(range(LEVELS))
    assert page.count('<tr id="L') == len(code.lines)
    assert len(re.findall(r'<th scope="row"><code>(add|name)</code></th>', page)) == 8


def test_the_terminal_shows_every_line_with_its_number(scorer, source):
    scored = scorer.score(source.read_text())
    shown = terminal_text(source, scored).plain
    for number, line in enumerate((TEXT * 4).split("\n")[:-1], start=1):
        assert f"{number:>2}  {line}".replace("\t", "    ") in shown
    right = sum(score.correct for score in scored.scores.values())
    assert f"{len(scored.scores):,} tokens, {right:,} predicted right" in shown


def test_carriage_returns_and_escape_codes_neither_add_lines_nor_reach_the_terminal(scorer, source, tmp_path):
    text = (TEXT * 2).replace("\n", "\r\n").replace("Score", "Sc\x1b[31more\x0c")
    scored = scorer.score(text)
    assert "".join(scored.pieces) == text
    shown = terminal_text(source, scored).plain
    assert not {"\x1b", "\r", "\x0c"} & set(shown)
    assert "Sc\\x1b[31more\\x0c" in shown
    assert f"{text.count(chr(10)):>2}  }}" in shown
    page = write_token_page(scorer, source, scored, tmp_path / "page.html").read_text()
    assert page.count('<tr id="L') == text.count("\n")


def test_json_and_sarif_have_every_token_and_every_unsure_line(scorer, source):
    scored = scorer.score(source.read_text())
    document = json.loads(tokens_as_json(scorer, [(source, scored)]))
    assert len(document["files"][0]["tokens"]) == len(scored.scores)
    functions = document["files"][0]["functions"]
    assert sorted(function["name"] for function in functions) == ["add"] * 4 + ["name"] * 4
    assert document["files"][0]["tokens"][3]["heads"][0].keys() == {"layer", "head", "log_odds"}
    (run,) = json.loads(as_sarif([(source, scored)]))["runs"]
    lines = [result["locations"][0]["physicalLocation"]["region"]["startLine"] for result in run["results"]]
    unsure = {score.line for score in scored.scores.values() if score.probability < 0.5}
    assert lines == sorted(unsure)
    assert all(result["ruleId"] == run["tool"]["driver"]["rules"][0]["id"] for result in run["results"])


def test_the_command_scores_every_token_unless_a_task_is_named(study, source, tmp_path):
    run = ["--study", str(study.directory)]
    shown = CliRunner().invoke(app, ["score", str(source), *run])
    assert shown.exit_code == 0
    assert "predicted right" in shown.output
    assert re.search(r"\d+%  (add|name), line \d+: \d+ of \d+ predicted right", shown.output)
    made = CliRunner().invoke(app, ["score", str(source), *run, "--pages", str(tmp_path / "pages")])
    assert (tmp_path / "pages" / "Score.java.html").exists()
    assert made.exit_code == 0
    unknown = tmp_path / "Score.txt"
    unknown.write_text(TEXT)
    without_parser = CliRunner().invoke(app, ["score", str(unknown), "--json", *run])
    assert json.loads(without_parser.stdout)["files"][0]["functions"] == []
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "Score.java"
    twin.write_text(TEXT)
    both = CliRunner().invoke(app, ["score", str(source), str(twin), *run, "--pages", str(tmp_path)])
    assert isinstance(both.exception, ApmaeError)
    assert "two of the files have the same name" in str(both.exception)


def test_what_a_study_lacks_is_said_in_one_line(study, tmp_path):
    with pytest.raises(ApmaeError, match=r"has no predictor of tokens: set tokens\.windows"):
        TokenPredictor.load(tmp_path / "token_predictor", "rows")
    filling = study.config.model_copy(
        update={"prompts": study.config.prompts.model_copy(update={"format": "fim"})}
    )
    with pytest.raises(ApmaeError):
        TokenScorer(type(study)(filling, study.directory), TokenScorer.load(study.directory).target)
    assert pl.read_parquet(study.path("token_metrics.parquet")).height
