"""What the toy model of this repository has learned, on Java that nobody else has seen."""

from pathlib import Path

import pytest
import torch
from helpers.corpora import write_corpus
from helpers.studies import context_of

from apmae.prompts import PromptFormatter, Span, find_spans, stage
from apmae.study import Study
from apmae.study.config import StudyConfig
from apmae.target_model import Target

UNSEEN = Path(__file__).parent / "unseen"
GIVEN = """\
import java.util.List;

public class Numbers {
    private final List<Integer> numbers;
    private int total;

    public int getTotal() {
        return total;
    }

"""

SAME_LEFT = [
    ("item.merge(name", (")", ";"), (",", " count);")),
    ("if (closed", (")", " {\n            return false;\n        }"), (" ", "|| open) {\n        }")),
    ("items.put(name, item", (")", ";"), (".", "copy());")),
    ("item.count = count", (";", ""), (" ", "+ 1;")),
    ("int left = item.count", (";", ""), (" ", "- count;")),
    ("for (int i = 0; i < count", (";", " i++) {\n        }"), (" ", "+ 1; i++) {\n        }")),
    ("counts[item", ("]", " = count;"), (".", "count] = count;")),
    ("Map<Item", (">", " found;"), (",", " String> found = new HashMap<>();")),
    ("String label = name", (";", ""), (".", "trim();")),
    ("log(name", (",", " item);"), (")", ";")),
]
"""Two holes each that only what follows them tells apart."""


@pytest.fixture(scope="module")
def toy_model():
    return Target.load("java-fim-4m", dtype="float32", device="cpu")


def greedy(target, text):
    ids = target.tokenizer(text)["input_ids"]
    return target.tokenizer.decode(target.logits([ids])[0].argmax())


@pytest.mark.parametrize(
    ("text", "following"),
    [
        ("    @", "Override"),
        ("    public int size() {\n        return numbers.", "size"),
        ("    public void setTotal(int total) {\n        this.total = ", "total"),
        (
            "    public void add() {\n        if (total < 0) {\n            throw new ",
            "IllegalArgumentException",
        ),
    ],
)
def test_it_goes_on_with_java(toy_model, text, following):
    assert greedy(toy_model, GIVEN + text) == following


def test_it_reads_what_stands_right_of_a_hole(toy_model):
    text = (UNSEEN / "Inventory.java").read_text()
    formatters = {name: PromptFormatter(toy_model.tokenizer, name, 192) for name in ("fim", "causal")}
    right = dict.fromkeys(formatters, 0)
    for left, *ends in SAME_LEFT:
        for middle, rest in ends:
            line = f"        {left}{middle}{rest}\n"
            edited = text.replace("        item.count -= count;\n", line)
            start = edited.index(line) + len("        " + left)
            span = Span("hole", start, start + len(middle))
            for name, formatter in formatters.items():
                prompt = formatter.prompt(formatter.tokenize(edited), span)
                assert toy_model.tokenizer.decode([prompt.next_token_id]) == middle
                right[name] += toy_model.logits([prompt.input_ids])[0].argmax().item() == prompt.next_token_id
    assert right["causal"] <= len(SAME_LEFT)  # one of each two, at best
    assert right["fim"] >= 1.6 * len(SAME_LEFT)


@pytest.fixture(scope="module")
def brackets(toy_model):
    text = (UNSEEN / "Inventory.java").read_text()
    formatter = PromptFormatter(toy_model.tokenizer, "fim", length_tokens=192)
    document = formatter.tokenize(text)
    spans = find_spans(text, "java", ["closing_bracket"])["closing_bracket"]
    return [formatter.prompt(document, span) for span in spans]


def test_generation_ends_where_the_hole_does(toy_model, brackets):
    end = toy_model.tokenizer.eos_token_id
    filled = 0
    for prompt in brackets:
        ids = torch.tensor([prompt.input_ids])
        generated = toy_model.model.generate(ids, max_new_tokens=4, do_sample=False)
        filled += generated[0, ids.shape[1] :].tolist() == [prompt.next_token_id, end]
    assert filled >= 0.85 * len(brackets) > 50


def test_zeroing_one_head_of_the_first_layer_costs_most_closing_brackets(toy_model, brackets):
    def share_right():
        logits = toy_model.logits([prompt.input_ids for prompt in brackets])
        return (logits.argmax(-1) == torch.tensor([p.next_token_id for p in brackets])).double().mean().item()

    before, after = share_right(), []
    for head in range(toy_model.n_heads):
        with toy_model.scale_heads({(0, head): 0.0}):
            after.append(share_right())
    assert before > 0.85
    assert min(after) < 0.5
    assert sorted(after)[-3] > 0.85


def test_a_study_of_it_is_balanced_and_its_outcomes_are_its_own(toy_model, tmp_path):
    write_corpus(tmp_path / "corpus")
    config = StudyConfig.model_validate(
        {
            "name": "balanced",
            "directory": str(tmp_path / "study"),
            "corpus": {"source": "directory", "path": str(tmp_path / "corpus")},
            "prompts": {
                "tasks": ["identifiers", "mathematical_operators"],
                "per_task": 8,
                "encoder_prompts": 8,
            },
        }
    )
    study = Study.create(config)
    counts = stage.run(context_of(study, toy_model))
    assert counts["format"] == "fim"
    for row in study.tasks.iter_rows(named=True):
        assert (row["kept_correct"], row["kept_incorrect"]) == (4, 4), row
        assert 0.2 < row["base_rate"] < 0.99, row
    prompts = study.study_prompts
    predicted = toy_model.logits(prompts["input_ids"].to_list()).argmax(-1)
    assert (predicted == prompts["next_token_id"].to_torch()).tolist() == prompts["correct"].to_list()
