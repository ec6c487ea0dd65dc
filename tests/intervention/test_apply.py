"""Interventions on plain models: with a cache, in `generate`, and in the weights of a checkpoint."""

import json

import pytest
import torch
from helpers.models import VOCABULARY, tiny_llama
from helpers.studies import tiny_study
from helpers.tokenizers import byte_level_tokenizer
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

import apmae
from apmae.common.errors import ApmaeError
from apmae.intervention import Intervention, Mean, Scale, Zero, export_model
from apmae.intervention.apply import write_into_weights
from apmae.intervention.operations import Gates, operation_of
from apmae.stages import STAGE_NAMES
from apmae.study.artifacts import BEST
from apmae.study.config import TargetConfig
from apmae.target_model import Target

IDS = torch.randint(0, VOCABULARY, (2, 20), generator=torch.Generator().manual_seed(1))
HEADS = ((0, 1), (2, 3), (2, 0))
MEANS = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))
GATES = (0.25, 0.0, 0.75)
INTERVENTIONS = [
    Intervention(HEADS),
    Intervention(HEADS, Scale(0.5)),
    Intervention(HEADS, Mean(), MEANS),
    Intervention(HEADS, Gates(), gates=GATES),
]


def zeroed_columns(heads=HEADS):
    model = tiny_llama()
    for layer, head in heads:
        model.model.layers[layer].self_attn.o_proj.weight.data[:, head * 8 : (head + 1) * 8] = 0
    return model


def tiny_gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4)).eval()


def logits(model):
    with torch.inference_mode():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_prefill_and_decoding_with_a_cache_equal_zeroed_columns(attention):
    model, expected = tiny_llama(attn_implementation=attention), logits(zeroed_columns())
    with torch.inference_mode(), apmae.apply(model, Intervention(HEADS)):
        prefill = model(input_ids=IDS[:, :12], use_cache=True)
        steps = [prefill.logits]
        cache = prefill.past_key_values
        for position in range(12, IDS.shape[1]):
            step = model(input_ids=IDS[:, position : position + 1], past_key_values=cache, use_cache=True)
            steps.append(step.logits)
    torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(logits(model), logits(tiny_llama(attn_implementation=attention)))


def test_generate_under_an_intervention_is_generate_of_the_changed_model():
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    model = tiny_llama()
    plain = model.generate(IDS, **options)
    with apmae.apply(model, Intervention(HEADS)):
        found = model.generate(IDS, **options)
    assert torch.equal(found, zeroed_columns().generate(IDS, **options))
    assert not torch.equal(found, plain)
    assert torch.equal(model.generate(IDS, **options), plain)


@pytest.mark.parametrize("intervention", INTERVENTIONS, ids=lambda made: made.operation.name)
def test_apply_is_what_a_target_does_to_its_heads(llama, intervention):
    replacement = torch.zeros(3, 4, 8)
    if intervention.means is not None:
        for head, mean in zip(HEADS, intervention.means, strict=True):
            replacement[head] = mean
    with llama.scale_heads(
        dict(zip(HEADS, intervention.gates or [intervention.operation.factor] * 3, strict=True)),
        replacement if intervention.means is not None else None,
    ):
        expected = llama.logits(IDS)
    model = tiny_llama()
    with apmae.apply(model, intervention):
        found = logits(model)[:, -1]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("intervention", INTERVENTIONS, ids=lambda made: made.operation.name)
def test_the_weights_of_a_model_with_biases_can_hold_any_intervention(intervention):
    model, changed = tiny_gpt2(), tiny_gpt2()
    write_into_weights(changed, intervention)
    with apmae.apply(model, intervention):
        torch.testing.assert_close(logits(changed), logits(model), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logits(changed), logits(model), atol=1e-4)


def test_means_need_a_bias():
    with pytest.raises(ApmaeError, match="llama: its output projections have no bias"):
        write_into_weights(tiny_llama(), INTERVENTIONS[2])


def test_adapters_and_quantised_weights_hold_no_intervention():
    model = tiny_llama()
    model._hf_peft_config_loaded = True
    with pytest.raises(ApmaeError, match=r"llama with an adapter: .* merge it into the model first"):
        write_into_weights(model, INTERVENTIONS[0])
    model = tiny_llama()
    projection = model.model.layers[1].self_attn.o_proj
    projection.weight = torch.nn.Parameter(projection.weight.data.to(torch.int8), requires_grad=False)
    with pytest.raises(ApmaeError, match="llama: its output projections are quantised"):
        write_into_weights(model, INTERVENTIONS[0])


def test_heads_and_means_that_do_not_fit_the_model_are_refused():
    with pytest.raises(ApmaeError, match=r"head \(3, 0\) is not in this model of 3 layers of 4 heads"):
        apmae.apply(tiny_llama(), Intervention(((3, 0),))).__enter__()
    with pytest.raises(ApmaeError, match="means have 5 channels, the model's heads 8"):
        apmae.apply(tiny_llama(), Intervention(((0, 0),), Mean(), torch.zeros(1, 5))).__enter__()


@pytest.mark.parametrize("intervention", INTERVENTIONS, ids=lambda made: made.operation.name)
def test_an_intervention_is_read_as_it_was_saved(tmp_path, intervention):
    intervention.save(tmp_path)
    found = Intervention.load(tmp_path)
    assert (found.heads, found.operation) == (intervention.heads, intervention.operation)
    assert found.gates == intervention.gates
    assert found == intervention
    if intervention.means is None:
        assert found.means is None
        assert [path.name for path in tmp_path.iterdir()] == ["intervention.json"]
    else:
        assert torch.equal(found.means, intervention.means)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: operation_of("double", 0.0), "one of zero, mean, scale, gates, not 'double'"),
        (lambda: operation_of("zero", 0.5), "the operation zero has no factor"),
        (lambda: Intervention(HEADS, Zero(), MEANS), "the operation zero uses no means"),
        (lambda: Intervention(HEADS, Mean(), MEANS[:2]), "3 heads need as many means, not 2"),
        (lambda: Intervention(HEADS, Gates()), "the operation gates needs gates"),
        (lambda: Intervention(HEADS, Zero(), gates=GATES), "the operation zero uses no gates"),
        (lambda: Intervention(HEADS, Gates(), gates=GATES[:2]), "3 heads need as many gates, not 2"),
        (lambda: apmae.apply(tiny_llama(), Intervention(HEADS, Mean())).__enter__(), "has no means"),
    ],
)
def test_contradictions_are_refused(make, message):
    with pytest.raises(ApmaeError, match=message):
        make()


def test_interventions_are_equal_if_they_do_the_same():
    assert Intervention(HEADS) == Intervention(HEADS[::-1], Zero(), target=TargetConfig())
    others = {Intervention(HEADS), Intervention(HEADS[:2]), Intervention(HEADS, Mean())}
    others |= {Intervention(HEADS, Scale(0.5)), Intervention(HEADS, Scale(0.25))}
    others |= {Intervention(HEADS, Gates(), gates=GATES), Intervention(HEADS, Gates(), gates=GATES[::-1])}
    assert len(others) == 7
    assert Intervention(HEADS, Gates(), gates=GATES) == Intervention(HEADS[::-1], Gates(), gates=GATES[::-1])


def test_what_is_no_intervention_is_refused(tmp_path):
    with pytest.raises(ApmaeError, match="holds no intervention"):
        Intervention.load(tmp_path)
    (tmp_path / "intervention.json").write_text(json.dumps({"heads": [[0, 0]], "operation": "mean"}))
    with pytest.raises(ApmaeError, match="cannot be read as an intervention"):
        Intervention.load(tmp_path)


@pytest.fixture
def checkpoint(tmp_path):
    """The tiny Llama, saved; and its tokenizer."""
    tiny_llama().save_pretrained(tmp_path / "model")
    byte_level_tokenizer("int i = 0;").save_pretrained(tmp_path / "model")
    return TargetConfig(model=str(tmp_path / "model"), dtype="float32")


def test_an_exported_model_loads_in_plain_transformers(tmp_path, checkpoint):
    Intervention(HEADS, target=checkpoint).save(tmp_path / "saved")
    export_model(tmp_path / "saved", tmp_path / "exported")
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "exported")
    for layer, head in HEADS:
        weight = exported.model.layers[layer].self_attn.o_proj.weight
        assert not weight[:, head * 8 : (head + 1) * 8].any()
    torch.testing.assert_close(logits(exported), logits(zeroed_columns()), atol=1e-6, rtol=1e-6)
    assert (tmp_path / "exported" / "tokenizer.json").is_file()


def test_a_studys_best_intervention_is_exported(tmp_path, checkpoint):
    study = tiny_study(tmp_path / "run")

    def finish(task, heads):
        Intervention(heads, target=checkpoint).save(study.path(BEST) / task)
        for stage in STAGE_NAMES:
            study.mark_done(stage, {"key": stage})

    finish("eol", HEADS[:1])
    assert export_model(study.directory, tmp_path / "only").heads == HEADS[:1]
    finish("identifiers", HEADS[1:])
    with pytest.raises(
        ApmaeError, match="name the task whose intervention to take; there are: eol, identifiers"
    ):
        export_model(study.directory, tmp_path / "which")
    assert export_model(study.directory, tmp_path / "named", "identifiers").heads == HEADS[1:]
    with pytest.raises(ApmaeError, match="none for the task random"):
        export_model(study.directory, tmp_path / "other", "random")


def test_what_cannot_be_exported_is_refused(tmp_path, checkpoint):
    Intervention(HEADS).save(tmp_path / "anonymous")
    with pytest.raises(ApmaeError, match="names no target"):
        export_model(tmp_path / "anonymous", tmp_path / "out")
    with pytest.raises(ApmaeError, match="is there already"):
        export_model(tmp_path / "anonymous", tmp_path)
    with pytest.raises(ApmaeError, match="is no study, so it has no task eol"):
        export_model(tmp_path / "anonymous", tmp_path / "out", "eol")


def test_a_target_can_be_under_an_intervention_too(llama):
    assert isinstance(llama, Target)
    with llama.scale_heads(dict.fromkeys(HEADS, 0.0)):
        expected = llama.logits(IDS)
    with apmae.apply(llama.model, Intervention(HEADS)):
        torch.testing.assert_close(llama.logits(IDS), expected)
