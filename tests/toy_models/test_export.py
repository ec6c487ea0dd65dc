import pytest
from helpers.models import MINIATURE
from safetensors.torch import load_file

from apmae.common.errors import ApmaeError
from apmae.target_model import Target
from experiments.toy_models.card import model_card
from experiments.toy_models.export import export
from experiments.toy_models.train import TOKENIZER, Trainer, load_tokenizer


@pytest.fixture
def work(tmp_path, tokenizer_directory):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / TOKENIZER).write_bytes((tokenizer_directory / TOKENIZER).read_bytes())
    return tmp_path / "work"


def test_an_exported_toy_model_is_a_target(work, tmp_path, files):
    trainer = Trainer(
        MINIATURE, load_tokenizer(work), files, work, checkpoint_every_seconds=60, compiled=False
    )
    list(trainer.run())
    directory = tmp_path / "exported"
    export(MINIATURE, files, work, directory)

    tensors = load_file(directory / "model.safetensors")
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.bfloat16"}
    target = Target.load(str(directory), dtype="float32", device="cpu")
    assert (target.n_layers, target.n_heads) == (2, 4)
    trained = trainer.model.get_input_embeddings().weight.bfloat16()
    assert target.model.get_input_embeddings().weight.bfloat16().equal(trained)
    listed = (directory / "held_out_packages.txt").read_text().split()
    assert set(listed) == {file.group for file in files.held_out}
    assert not set(listed) & {file.group for file in files.training}
    card = model_card(MINIATURE, files, directory, per_task=2)
    assert "| closing_bracket | 2 |" in card
    assert f"; {len(files.training)} files trained on" in card
    assert f"{len(listed)} packages ({len(files.held_out)} files)" in card


def test_nothing_exported_has_no_card(tmp_path, files):
    with pytest.raises(ApmaeError, match="holds no toy model: run"):
        model_card(MINIATURE, files, tmp_path, per_task=2)


def test_an_unfinished_training_is_not_exported(work, tmp_path, files):
    with pytest.raises(ApmaeError, match="is at step 0 of 6"):
        export(MINIATURE, files, work, tmp_path / "exported")
    with pytest.raises(ApmaeError, match="holds no training"):
        export(MINIATURE, files, tmp_path / "nothing", tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
