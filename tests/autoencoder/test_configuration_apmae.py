"""Sizes of the named configs and the lines that wrong values end in."""

import pytest
import torch

from apmae.autoencoder import APMAEConfig, APMAEModel
from apmae.common.errors import ApmaeError


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(config):
    with torch.device("meta"):
        return APMAEModel(config)


def test_paper_size():
    """Section 4: "the AP-MAE encoder has 101M parameters and the decoder has 25M"; the linear head
    that predicts the patches' values is counted with neither."""
    model = on_meta(APMAEConfig())
    assert parameters(model.encoder) == pytest.approx(101e6, rel=0.01)
    assert parameters(model.decoder) == pytest.approx(25e6, rel=0.01)
    assert parameters(model) - parameters(model.encoder) - parameters(model.decoder) == 512 * 1024 + 1024


def test_paper_is_the_default():
    assert APMAEConfig.paper().to_dict() == APMAEConfig().to_dict()
    assert APMAEConfig.paper(row_tokens=True).row_tokens


@pytest.mark.parametrize(("name", "millions"), [("small", 3.7), ("tiny", 0.8)])
def test_smaller_sizes(name, millions):
    config = getattr(APMAEConfig, name)(patch_size=32, scaling="absolute")
    assert parameters(on_meta(config)) == pytest.approx(millions * 1e6, rel=0.02)
    assert config.scaling == "absolute"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"patch_size": 48}, "patch_size 48 does not divide pattern_size 256"),
        ({"encoder_layers": 0}, "encoder_layers is 0; it must be a whole number of at least 1"),
        ({"decoder_dim": 1.5}, "decoder_dim is 1.5; it must be a whole number of at least 1"),
        ({"decoder_context": "all"}, "decoder_context is 'all'; it must be one of visible, cls"),
        ({"encode_patches": "cls"}, "encode_patches is 'cls'; it must be one of causal, all"),
        (
            {"scaling": "log"},
            "scaling is 'log'; it must be one of min_normalized, absolute, probability",
        ),
        ({"mask_ratio": 1.0}, "mask_ratio is 1.0; it must lie between 0 and 1"),
        ({"row_loss_fraction": 0.0}, "row_loss_fraction is 0.0; it must lie between 0 and 1"),
        ({"row_token_size": 12}, "row_token_size 12 does not divide patch_size 32"),
        ({"token_values": "log"}, "token_values is 'log'; it must be one of normalized, with_level"),
        ({"mask_ratio": "half"}, "mask_ratio is 'half'; it must lie between 0 and 1"),
        ({"patch_size": 256}, "mask_ratio 0.5 masks none of the 1 patches"),
        (
            {"mask_ratio": 0.1, "row_tokens": True},
            "mask_ratio 0.1 masks none of the 8 patches of the last row",
        ),
    ],
)
def test_wrong_values(values, line):
    with pytest.raises(ApmaeError) as error:
        APMAEConfig(**values)
    assert str(error.value) == line


def test_unknown_activation():
    with pytest.raises(ApmaeError, match="hidden_act is 'gelo'; it must be one of"):
        APMAEConfig(hidden_act="gelo")


def test_a_config_changed_afterwards_is_checked_by_the_model():
    config = APMAEConfig.tiny()
    config.patch_size = 48
    with pytest.raises(ApmaeError, match="patch_size 48 does not divide"):
        on_meta(config)


def test_a_key_of_an_earlier_version_is_read():
    config = APMAEConfig.from_dict({"row_loss_share": 0.75})
    assert config.row_loss_fraction == 0.75
