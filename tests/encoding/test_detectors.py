import numpy as np
import torch
from helpers.studies import context_of, tiny_study

from apmae.autoencoder import APMAEModel
from apmae.autoencoder.patterns import patchify
from apmae.encoding import stage
from apmae.encoding.detectors import laplacian_eigenvalues, received_attention
from apmae.study.artifacts import ENCODER, token_ids
from apmae.training import encoder_config


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


def test_they_are_kept_for_every_head(tmp_path, llama):
    study = tiny_study(tmp_path, encoding={"detectors": ["laplacian_eigenvalues"]})
    torch.manual_seed(0)
    APMAEModel(encoder_config(study.config)).save_pretrained(study.path(ENCODER))
    stage.run(context_of(study, llama))
    ids = token_ids(study.study_prompts)[[7]]
    _, layers = llama.capture(ids, lambda _, log_probs: log_probs)
    expected = laplacian_eigenvalues(patchify(layers[2], 4), 4)[0, 1]
    np.testing.assert_allclose(study.encodings["laplacian_eigenvalues"][2 * 4 + 1, 7], expected, atol=1e-5)
