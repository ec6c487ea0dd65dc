from typing import get_args

import numpy as np
import pytest
import torch
from helpers.studies import context_of, tiny_study

from apmae.autoencoder import APMAEModel
from apmae.autoencoder.patterns import patchify
from apmae.encoding import detectors, stage
from apmae.encoding.detectors import (
    OF_HEADS,
    laplacian_eigenvalues,
    logit_lens_entropies,
    lookback_ratios,
    rauq,
    received_attention,
    sink_scores,
)
from apmae.study.artifacts import ENCODER, token_ids
from apmae.training import encoder_config
from apmae.vocabulary import Detector


def drawn(tokens=16):
    """Log probabilities (2, 3, T, T), -inf above the diagonal."""
    scores = torch.randn(2, 3, tokens, tokens, generator=torch.Generator().manual_seed(0)) * 2
    later = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -torch.inf).log_softmax(-1)


def test_received_attention_is_the_sums_of_columns_and_the_diagonal():
    log_probs = drawn()
    received, from_itself = received_attention(patchify(log_probs, 4), 4)
    torch.testing.assert_close(received, log_probs.exp().sum(-2))
    torch.testing.assert_close(from_itself, log_probs.exp().diagonal(dim1=-2, dim2=-1))


def test_laplacian_eigenvalues_are_those_of_the_laplacian():
    log_probs = drawn()
    found = laplacian_eigenvalues(patchify(log_probs, 4), 4).numpy()
    assert found.shape == (2, 3, 10)
    for prompt in range(2):
        for head in range(3):
            attention = log_probs[prompt, head].exp().double().numpy()
            degree = [attention[:, i].sum() / (16 - i) for i in range(16)]
            eigenvalues = np.linalg.eigvals(np.diag(degree) - attention)
            np.testing.assert_allclose(eigenvalues.imag, 0, atol=1e-6)
            expected = np.sort(eigenvalues.real)[::-1][:10]
            np.testing.assert_allclose(found[prompt, head], expected, atol=1e-5)


def test_sink_scores_are_the_largest_mean_attentions_received():
    attention = drawn().exp().double().numpy()
    found = sink_scores(patchify(drawn(), 4), 4).numpy()
    received = np.stack([attention[..., i:, i].mean(-1) for i in range(16)], axis=-1)
    np.testing.assert_allclose(found, np.sort(received)[..., ::-1][..., :10], atol=1e-5)


@pytest.mark.parametrize(("patch_size", "recent"), [(16, 8), (8, 8), (4, 4)])
def test_lookback_ratios_compare_mean_attentions(patch_size, recent):
    attention = drawn().exp().double().numpy()
    found = lookback_ratios(patchify(drawn(), patch_size), patch_size).numpy()
    context = 16 - recent
    ratios = []
    for query in range(context, 16):
        to_context = attention[..., query, :context].mean(-1)
        to_recent = attention[..., query, context : query + 1].mean(-1)
        ratios.append(to_context / (to_context + to_recent))
    np.testing.assert_allclose(found[..., 0], np.mean(ratios, axis=0), atol=1e-5)


def test_rauq_hands_confidence_on_through_the_head_that_looks_back():
    tokens = torch.tensor([[0.5, 0.25, 0.9]])
    looks_back = torch.tensor([0.8, 0.6])
    others = torch.full((2,), 0.1)
    layers = torch.stack([torch.stack([others, looks_back]), torch.stack([others, looks_back / 2])])
    found = rauq(layers[:, None], tokens.log())
    (weakest,) = [
        0.2 * 0.9 + 0.8 * weights[1] * (0.2 * 0.25 + 0.8 * weights[0] * 0.5) for weights in [(0.4, 0.3)]
    ]
    torch.testing.assert_close(found, -torch.tensor([[weakest]]).log())


def test_rauq_looks_at_the_middle_layers_alone():
    layers = torch.rand(9, 2, 4, 8, generator=torch.Generator().manual_seed(0))
    tokens = torch.rand(2, 9, generator=torch.Generator().manual_seed(1)).log()
    expected = rauq(layers, tokens)
    layers[:3] = layers[7:] = 0.001
    torch.testing.assert_close(rauq(layers, tokens), expected)
    layers[6] = 0.001
    assert (rauq(layers, tokens) > expected).all()


def test_every_array_is_that_of_direct_passes(tmp_path, llama):
    study = tiny_study(tmp_path, encoding={"detectors": list(get_args(Detector)), "shard_prompts": 5})
    torch.manual_seed(0)
    APMAEModel(encoder_config(study.config)).save_pretrained(study.path(ENCODER))
    stage.run(context_of(study, llama))
    arrays, ids = study.encodings, token_ids(study.study_prompts)[[7]]
    patch_size = study.config.encoder.patch_size
    _, layers = llama.capture(ids, lambda _, log_probs: log_probs)
    for name, columns in OF_HEADS.items():
        expected = columns.make(patchify(layers[2], patch_size), patch_size)[0, 1]
        np.testing.assert_allclose(arrays[name][2 * 4 + 1, 7], expected, atol=1e-5)

    with torch.inference_mode():
        output = llama.model(torch.from_numpy(ids).long(), output_hidden_states=True)
    log_probs = output.logits[0].log_softmax(-1)
    known = log_probs[torch.arange(len(ids[0]) - 1), ids[0, 1:].astype(np.int64)]
    recent = min(8, patch_size)
    tokens = torch.cat([known[-recent:], log_probs[-1].max()[None]])[None]
    places = torch.arange(len(ids[0]) - recent, len(ids[0]))
    previous = torch.stack([layers[layer][..., places, places - 1].exp() for layer in range(3)])
    np.testing.assert_allclose(arrays["rauq"][7], rauq(previous, tokens)[0], atol=1e-4)

    streams = [state[0, -1] for state in output.hidden_states[:3]]
    reading = [llama.model.lm_head(llama.model.model.norm(stream)).softmax(-1) for stream in streams[1:]]
    entropies = [float(torch.special.entr(read.detach()).sum()) for read in reading]
    found = arrays["logit_lens_entropies"]
    assert found.shape == (3, len(study.study_prompts), 3)
    np.testing.assert_allclose(found[2, 7, :2], entropies, atol=1e-4)
    np.testing.assert_allclose(
        found[2, 7, 2], float(torch.special.entr(log_probs[-1].exp()).sum()), atol=1e-4
    )
    np.testing.assert_allclose(found[:2, 7], _entropies_of_parts(llama, ids), atol=1e-4)


def _entropies_of_parts(llama, ids):
    """(2, L): of what attention and the feed-forward part return, by hooks on Llama's own modules."""
    found = {"self_attn": [], "mlp": []}
    handles = [
        getattr(layer, part).register_forward_hook(
            lambda _module, _args, output, part=part: found[part].append(
                (output if part == "mlp" else output[0])[0, -1]
            )
        )
        for layer in llama.model.model.layers
        for part in found
    ]
    llama.logits(ids)
    for handle in handles:
        handle.remove()
    return [
        [
            torch.special.entr(llama.model.lm_head(llama.model.model.norm(vector)).softmax(-1)).sum().item()
            for vector in vectors
        ]
        for vectors in found.values()
    ]


@pytest.mark.parametrize("values", [1, 1 << 26])
def test_the_lens_reads_the_same_in_pieces(monkeypatch, llama, values):
    monkeypatch.setattr(detectors, "LENS_VALUES", values)
    vectors = torch.randn(4, 2, 32, generator=torch.Generator().manual_seed(0))
    found = logit_lens_entropies(llama, vectors[:3], vectors)
    expected = [
        torch.special.entr(llama.model.lm_head(llama.model.model.norm(part)).softmax(-1)).sum(-1)
        for part in (vectors[:3], vectors[1:] - vectors[:-1] - vectors[:3], vectors[1:])
    ]
    torch.testing.assert_close(found, torch.stack(expected).transpose(1, 2))
