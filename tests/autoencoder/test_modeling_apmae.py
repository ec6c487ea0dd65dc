"""What the model sees, what it does not see, and what its loss is."""

import itertools

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from apmae.autoencoder import APMAEConfig, APMAEModel
from apmae.autoencoder.layers import Attention, TransformerSize
from apmae.autoencoder.patterns import patchify
from apmae.autoencoder.tokens import gather, mask_tokens
from apmae.common.errors import ApmaeError

N, T, P, G, K = 3, 32, 8, 4, 10
COMBINATIONS = list(itertools.product(["visible", "cls"], [False, True]))


def build(**overrides):
    torch.manual_seed(0)
    sizes = {"pattern_size": T, "patch_size": P, "encoder_layers": 2}
    return APMAEModel(APMAEConfig.tiny(**sizes | overrides)).eval()


@pytest.fixture
def patterns():
    return torch.rand(N, T, T, generator=torch.Generator().manual_seed(1)).tril()


@pytest.fixture
def noise():
    return torch.rand(N, K, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("decoder_context", "row_tokens"), COMBINATIONS)
@pytest.mark.parametrize("decoder_dim", [128, 64])
def test_gradient_reaches_every_parameter(patterns, noise, decoder_context, row_tokens, decoder_dim):
    model = build(decoder_context=decoder_context, row_tokens=row_tokens, decoder_dim=decoder_dim)
    model(patterns, noise).loss.backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


def test_gradients_are_the_same_on_several_threads_each_time():
    """On CPUs, threads add up the gradient of an index in the order in which they come."""
    draw = torch.Generator().manual_seed(3)
    model = build(pattern_size=128, patch_size=16, row_tokens=True)
    patterns, noise = torch.rand(64, 128, 128, generator=draw), torch.rand(64, 36, generator=draw)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        gradients = set()
        for _ in range(8):
            model.zero_grad()
            model(patterns, noise).loss.backward()
            positions = (model.encoder.positions.grad, model.encoder.row_positions.grad)
            gradients.add(tuple(grad.numpy().tobytes() for grad in positions))
    finally:
        torch.set_num_threads(threads)
    assert len(gradients) == 1


@pytest.mark.parametrize("token_values", ["normalized", "with_level"])
@pytest.mark.parametrize("row_tokens", [False, True])
def test_gradients_of_constant_patches_are_bounded(noise, row_tokens, token_values):
    """Attention sinks leave patches without spread; layer_norm_eps of 1e-12 must not blow them up."""
    model = build(row_tokens=row_tokens, token_values=token_values)
    constant = torch.zeros(N, T, T)
    constant[:, :, 0] = 1
    model(constant, noise).loss.backward()
    largest = max(parameter.grad.norm().item() for parameter in model.parameters())
    assert largest < 10


def test_loss_and_reconstruction_by_hand(patterns, noise):
    output = build()(patterns, noise)
    given, made = patchify(patterns, P), patchify(output.reconstruction, P)
    masked = noise.argsort(dim=1).argsort(dim=1) >= K - K // 2
    assert torch.equal(output.mask, masked)
    assert torch.equal(made[~masked], given[~masked])
    assert_close(output.loss, ((made - given)[masked] ** 2).mean())
    assert not torch.triu(
        patchify(output.reconstruction, P, causal=False).reshape(N, G, G, -1).sum(-1), 1
    ).any()


@pytest.mark.parametrize("row_tokens", [False, True])
def test_visible_tokens_are_embedded_as_among_all(patterns, noise, row_tokens):
    model = build(row_tokens=row_tokens, row_token_size=4 if row_tokens else None)
    tokens, masking = model.tokenize(patterns), mask_tokens(noise, model.config)
    among_all = gather(model.encoder.embed(tokens), masking.visible)
    assert_close(model.encoder.embed_visible(tokens, masking), among_all)


def test_the_reconstruction_is_made_where_it_is_asked_for(patterns, noise):
    model = build(row_tokens=True)
    whole, bare = model(patterns, noise), model(patterns, noise, reconstruct=False)
    assert bare.reconstruction is None
    assert torch.equal(bare.loss, whole.loss)
    assert torch.equal(bare.mask, whole.mask)


def test_row_loss_by_hand(patterns, noise):
    """The mean of two errors: of the masked patches, and of the masked pieces of the last row."""
    model = build(row_tokens=True)
    predicted = []
    model.row_head.register_forward_hook(lambda *call: predicted.append(call[-1]))
    output = model(patterns, noise)
    masking = mask_tokens(noise, model.config)
    pieces = masking.masked[:, masking.masked_patches :] - K
    rows = patterns[:, -1].unflatten(-1, (G, P))
    truth = torch.stack([rows[n, pieces[n]] for n in range(N)])
    patch_mask, row_mask = output.mask[:, :K], output.mask[:, K:]
    patch_error = (patchify(output.reconstruction, P) - patchify(patterns, P))[patch_mask] ** 2
    assert_close(output.loss, (patch_error.mean() + ((predicted[0] - truth) ** 2).mean()) / 2)
    assert torch.equal(row_mask, patch_mask[:, K - G :])
    assert row_mask.sum(1).tolist() == [G // 2] * N


def test_the_row_tokens_part_of_the_loss(patterns, noise):
    """Linear in the share: what two shares give fixes what a third one gives."""
    losses = {}
    for share in (0.25, 0.5, 0.75):
        losses[share] = build(row_tokens=True, row_loss_fraction=share)(patterns, noise).loss
    assert not torch.isclose(losses[0.25], losses[0.75])
    assert_close(losses[0.5], (losses[0.25] + losses[0.75]) / 2)
    rows_alone = 2 * losses[0.75] - losses[0.5]
    assert_close(2 * losses[0.25] - losses[0.5], 2 * losses[0.5] - rows_alone)


def test_fine_row_tokens_are_pieces_of_the_row(patterns, noise):
    """The loss over pieces of 2 is that over their values; the readout is over all pieces."""
    model = build(row_tokens=True, row_token_size=2)
    predicted = []
    model.row_head.register_forward_hook(lambda *call: predicted.append(call[-1]))
    output = model(patterns, noise)
    assert predicted[0].shape == (N, G // 2 * P // 2, 2)
    pieces = patterns[:, -1].unflatten(-1, (-1, 2))[output.mask[:, K:]]
    masking = mask_tokens(noise, model.config)
    places = masking.masked[:, masking.masked_patches :]
    in_order = predicted[0].gather(1, places.argsort(1)[..., None].expand(-1, -1, 2)).flatten(0, 1)
    patch_mask = output.mask[:, :K]
    patch_error = (patchify(output.reconstruction, P) - patchify(patterns, P))[patch_mask] ** 2
    assert_close(output.loss, (patch_error.mean() + ((in_order - pieces) ** 2).mean()) / 2)
    sequence = model.encode_sequence(patterns)
    assert sequence.shape == (N, 1 + K + T // 2, 128)
    assert_close(model.encode(patterns, "row"), sequence[:, 1 + K :].mean(1))


def test_what_is_embedded_of_a_tokens_values(patterns):
    """LayerNorm at the input makes a pattern and the same one twice as strong equal; levels do not."""
    for token_values, same in (("normalized", True), ("with_level", False)):
        model = build(row_tokens=True, token_values=token_values, layer_norm_eps=1e-12)
        embedded = model.encoder.embed(model.tokenize(patterns))
        stronger = model.encoder.embed(model.tokenize(2 * patterns))
        assert torch.allclose(embedded, stronger, atol=1e-5) == same
    level = model.encoder.embed_rows
    with torch.no_grad():
        level.linear.weight.zero_()
        level.linear.weight[0, -2], level.linear.weight[1, -1] = 1, 1
    level.norm_out = nn.Identity()
    values = torch.tensor([[0.25, 0.75] * (P // 2)])
    assert_close(level(values)[0, :2] - level.linear.bias[:2], torch.tensor([0.5, 0.25]))


@pytest.mark.parametrize("row_tokens", [False, True])
def test_every_pattern_has_its_own_loss(patterns, noise, row_tokens):
    model = build(row_tokens=row_tokens)
    alone = [model(patterns[n : n + 1], noise[n : n + 1]).loss for n in range(N)]
    output = model(patterns, noise)
    assert_close(output.losses, torch.stack(alone))
    assert_close(output.loss, torch.stack(alone).mean())


@pytest.mark.parametrize(("decoder_context", "row_tokens"), COMBINATIONS)
def test_masked_values_are_not_seen(patterns, noise, decoder_context, row_tokens):
    model = build(decoder_context=decoder_context, row_tokens=row_tokens)
    before = model(patterns, noise)
    masked = mask_area(before.mask[:, :K])
    after = model(patterns.where(~masked, 0.5).tril(), noise)
    assert torch.equal(before.reconstruction[masked], after.reconstruction[masked])
    assert not torch.isclose(before.loss, after.loss)


@pytest.mark.parametrize(("decoder_context", "row_tokens"), COMBINATIONS)
def test_visible_values_are_seen(patterns, noise, decoder_context, row_tokens):
    model = build(decoder_context=decoder_context, row_tokens=row_tokens)
    before = model(patterns, noise)
    masked = mask_area(before.mask[:, :K])
    after = model(patterns.where(masked, 1 - patterns).tril(), noise)
    assert not torch.isclose(before.reconstruction[masked], after.reconstruction[masked]).all()


def test_decoder_context(patterns, noise):
    """`cls` decodes from [CLS] alone; `visible` also from the encoded visible patches."""
    changed = {}
    for context in ("visible", "cls"):
        model = build(decoder_context=context)
        encoded = torch.rand(N, 1 + K // 2, 128)
        masking = mask_tokens(noise, model.config)
        other = torch.cat([encoded[:, :1], torch.rand(N, K // 2, 128)], dim=1)
        changed[context] = not torch.equal(model.decoder(encoded, masking), model.decoder(other, masking))
    assert changed == {"visible": True, "cls": False}


def mask_area(masked_patches):
    """(N, K) bool -> (N, T, T) bool, the area of the masked patches."""
    area = torch.zeros(len(masked_patches), T, T, dtype=torch.bool)
    places = [(row, column) for row in range(G) for column in range(row + 1)]
    for n, patches in enumerate(masked_patches):
        for (row, column), masked in zip(places, patches.tolist(), strict=True):
            area[n, row * P : (row + 1) * P, column * P : (column + 1) * P] = masked
    return area


@pytest.mark.parametrize("row_tokens", [False, True])
def test_readouts(patterns, row_tokens):
    model = build(row_tokens=row_tokens)
    sequence = model.encode_sequence(patterns)
    assert sequence.shape == (N, 1 + K + G * row_tokens, 128)
    last = [1 + K + column for column in range(G)] if row_tokens else [7, 8, 9, 10]
    wanted = {
        "cls": sequence[:, 0],
        "row": sum(sequence[:, token] for token in last) / G,
        "mean": sequence[:, 1:].sum(1) / (K + G * row_tokens),
        "row_ends": torch.cat([sequence[:, last[0]], sequence[:, last[-1]]], dim=1),
        "row_concat": torch.cat([sequence[:, token] for token in last], dim=1),
    }
    readouts = model.encode_readouts(patterns, tuple(wanted))
    assert_close(readouts, wanted)
    for readout, encoding in wanted.items():
        assert_close(model.encode(patterns, readout), encoding)
        assert encoding.shape[1] == model.config.readout_dim(readout)


def test_encode_all_patches(patterns):
    """The whole grid has zero patches above the diagonal, and their positions count."""
    model = build(encode_patches="all")
    sequence = model.encode_sequence(patterns)
    assert sequence.shape == (N, 1 + G * G, 128)
    with torch.no_grad():
        model.encoder.positions[:, 1 + 1] += 1  # patch (0, 1)
    assert not torch.allclose(model.encode(patterns), sequence[:, 0])
    assert_close(model.encode(patterns, "row"), model.encode_sequence(patterns)[:, 1 + 12 :].mean(1))


def test_tokens_stand_for_patterns(patterns, noise):
    model = build(row_tokens=True)
    tokens = model.tokenize(patterns)
    assert torch.equal(model(tokens, noise).loss, model(patterns, noise).loss)
    assert torch.equal(model.encode(tokens), model.encode(patterns))
    half = model(tokens._replace(patches=tokens.patches.half(), rows=tokens.rows.half()), noise)
    assert_close(half.loss, model(patterns, noise).loss, atol=1e-3, rtol=0)


def test_noise_is_drawn_from_the_global_generator(patterns):
    model = build()
    torch.manual_seed(3)
    noise = torch.rand(N, K)
    torch.manual_seed(3)
    assert torch.equal(model(patterns).loss, model(patterns, noise).loss)
    assert not torch.equal(model(patterns).mask, model(patterns).mask)


def test_wrong_inputs(patterns):
    model = build()
    with pytest.raises(
        ApmaeError, match=r"patterns have shape \(3, 16, 16\); this model reads \(N, 32, 32\)"
    ):
        model(patterns[:, :16, :16])
    with pytest.raises(ApmaeError, match=r"noise has shape \(3, 36\); this model masks \(N, 10\) patches"):
        model(patterns, torch.rand(N, 36))
    with pytest.raises(ApmaeError, match="rows None"):
        build(row_tokens=True)(model.tokenize(patterns))
    with pytest.raises(
        ApmaeError, match="unknown readout 'max'; choose one of cls, row, mean, row_ends, row_concat"
    ):
        model.encode(patterns, "max")


def test_attention_is_torchs_multi_head_attention():
    """An independent implementation, with equal weights (its inner width is that of the input)."""
    size = TransformerSize(layers=1, dim=32, heads=4, head_dim=8, mlp_dim=8)
    ours = Attention(size, APMAEConfig.tiny(qkv_bias=True))
    theirs = nn.MultiheadAttention(32, 4, batch_first=True)
    theirs.in_proj_weight, theirs.in_proj_bias = ours.qkv.weight, ours.qkv.bias
    theirs.out_proj.weight, theirs.out_proj.bias = ours.out.weight, ours.out.bias
    x = torch.rand(2, 5, 32)
    normed = nn.functional.layer_norm(x, (32,), eps=1e-12)
    assert_close(ours(x), theirs(normed, normed, normed, need_weights=False)[0])


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize(("decoder_context", "row_tokens"), COMBINATIONS)
def test_autocast_and_compile(patterns, noise, decoder_context, row_tokens):
    model = build(decoder_context=decoder_context, row_tokens=row_tokens, decoder_dim=64)
    loss = model(patterns, noise).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(patterns, noise)
    assert low.loss.dtype == torch.float32
    assert_close(low.loss, loss, rtol=0.05, atol=0)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert_close(compiled(patterns, noise).loss, loss)


def test_learns():
    """A few steps on stripes beat predicting their mean."""
    model = build().train()
    stripes = (torch.arange(T)[:, None] - torch.arange(T)) % 4 == torch.arange(4)[:, None, None]
    patterns = stripes.float().repeat(8, 1, 1).tril()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        loss = model(patterns, torch.rand(32, K, generator=generator)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.7 * patchify(patterns, P).var(unbiased=False)


@pytest.mark.parametrize("tokens", [1, 19, 37])
def test_attention_in_bfloat16_is_that_in_float32(tokens):
    """On CPUs the two go different ways."""
    torch.manual_seed(0)
    attention = Attention(TransformerSize(1, 64, 4, 32, 64), APMAEConfig())
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.randn(3, tokens, 64, requires_grad=True)
    (expected,) = torch.autograd.grad(attention(x).square().sum(), x)
    with torch.autocast("cpu", torch.bfloat16):
        output = attention(x)
    assert output.dtype == torch.bfloat16
    assert_close(output.float(), attention(x), atol=0.05, rtol=0.02)
    (gradient,) = torch.autograd.grad(output.float().square().sum(), x)
    assert torch.cosine_similarity(gradient.flatten(), expected.flatten(), dim=0) > 0.999
