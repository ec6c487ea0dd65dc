"""Saving and loading, and the one line that each broken checkpoint ends in."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from apmae.autoencoder import APMAEConfig, APMAEModel
from apmae.common.errors import ApmaeError

RELEASED = Path(__file__).parent / "release_checkpoint"
TINY = {"pattern_size": 32, "patch_size": 8, "encoder_layers": 1, "row_tokens": True}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    path = tmp_path_factory.mktemp("ours")
    torch.manual_seed(0)
    APMAEModel(APMAEConfig.tiny(**TINY)).save_pretrained(path)
    return path


@pytest.fixture(params=["ours", "released"])
def checkpoint(request, ours, tmp_path):
    """A copy that a test may break."""
    source = ours if request.param == "ours" else RELEASED
    return Path(shutil.copytree(source, tmp_path / "copy", ignore=shutil.ignore_patterns("expected*")))


def change_weights(directory, change):
    file = directory / "model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file)


def error_line(directory):
    with pytest.raises(ApmaeError) as error:
        APMAEModel.from_pretrained(directory)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_round_trip(ours):
    torch.manual_seed(0)
    model = APMAEModel(APMAEConfig.tiny(**TINY)).eval()
    patterns, noise = torch.rand(2, 32, 32), torch.rand(2, 10)
    for again in (APMAEModel.from_pretrained(ours), AutoModel.from_pretrained(ours)):
        assert type(again) is APMAEModel
        assert not again.training
        for key, value in model(patterns, noise).items():
            assert torch.equal(again(patterns, noise)[key], value), key
        assert torch.equal(again.encode(patterns, "row"), model.encode(patterns, "row"))


def test_saved_config_holds_our_keys_only(ours):
    saved = json.loads((ours / "config.json").read_text())
    ours_only = set(APMAEConfig.__annotations__) | {
        "architectures",
        "dtype",
        "model_type",
        "transformers_version",
    }
    assert set(saved) == ours_only
    assert AutoConfig.from_pretrained(ours).to_diff_dict() == saved


def test_dtype_can_be_chosen(ours):
    model = APMAEModel.from_pretrained(ours, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    output = model(torch.rand(2, 32, 32))
    assert output.loss.dtype == torch.float32


def test_missing_tensor(checkpoint):
    change_weights(checkpoint, lambda state: state.pop("decoder.mask_token"))
    assert error_line(checkpoint).endswith("model.safetensors: tensor missing: decoder.mask_token")


def test_extra_tensor(checkpoint):
    change_weights(checkpoint, lambda state: state.update(surplus=torch.zeros(1)))
    assert error_line(checkpoint).endswith("model.safetensors: tensor unknown to this model: surplus")


def test_misshapen_tensor(checkpoint):
    change_weights(checkpoint, lambda state: state.update({"decoder.mask_token": torch.zeros(7)}))
    assert "tensor decoder.mask_token has shape (7,), but config.json asks for (" in error_line(checkpoint)


def test_truncated_file(checkpoint):
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "model.safetensors: not a whole safetensors file" in error_line(checkpoint)


def test_pickle_is_refused(checkpoint):
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    assert "never from a pickle such as pytorch_model.bin" in error_line(checkpoint)


def test_no_config(checkpoint):
    (checkpoint / "config.json").unlink()
    assert error_line(checkpoint) == f"{checkpoint}: no config.json there"


def test_broken_config(checkpoint):
    (checkpoint / "config.json").write_text("{")
    assert error_line(checkpoint) == f"{checkpoint}: config.json cannot be read"


def test_another_kind_of_model(checkpoint):
    (checkpoint / "config.json").write_text('{"model_type": "llama"}')
    assert error_line(checkpoint) == f"{checkpoint}: config.json is not an AP-MAE's (model_type 'llama')"


def test_no_such_directory(tmp_path):
    assert error_line(tmp_path / "nowhere").startswith(f"{tmp_path / 'nowhere'}: no such directory")
