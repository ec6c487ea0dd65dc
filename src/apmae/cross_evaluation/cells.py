"""Cells of the table: the reconstruction errors of one encoder on one target.

Each cell is cached in a file named by the hash of its inputs, so it is reused whatever the encoders are
called.

Shape suffixes: B prompts, L layers, H heads, N patterns, K lower-triangle patches, P patch side.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from apmae.autoencoder import APMAEConfig, APMAEModel
from apmae.autoencoder.reconstruction import ReconstructionErrors, reconstruction_errors
from apmae.common.atomic import read_parquet, write_parquet
from apmae.common.progress import Progress, silent
from apmae.common.seeding import torch_generator
from apmae.cross_evaluation.sources import EncoderRow, TargetColumn
from apmae.study.artifacts import token_ids
from apmae.target_model import Target
from apmae.target_model.model import TokenIds

PATTERNS_PER_BATCH = 256

CELL_SCHEMA = pl.Schema(
    {
        "prompt_id": pl.Int32(),
        "layer": pl.Int16(),
        "head": pl.Int16(),
        **{name: pl.Float32() for name in ReconstructionErrors._fields},
    }
)


def open_cells(
    rows: Sequence[EncoderRow],
    column: TargetColumn,
    directory: Path,
    progress: Progress,
    announce: Callable[[str], None],
) -> list[pl.DataFrame]:
    """The cells of a column, `CELL_SCHEMA` each; those whose file is not there are computed."""
    paths = [directory / f"{_cell_key(row.model, column)}.parquet" for row in rows]
    target = None
    for row, path in zip(rows, paths, strict=True):
        if not path.exists():
            target = target or Target.from_config(column.config.target)
            announce(f"{row.name} on {column.name}: {column.prompts.height} prompts")
            write_parquet(path, evaluate_cell(target, row.model.to(target.device), column, progress))
    return [read_parquet(path) for path in paths]


def evaluate_cell(
    target: Target, model: APMAEModel, column: TargetColumn, progress: Progress = silent
) -> pl.DataFrame:
    """The errors of one encoder on every head's pattern on every prompt, `CELL_SCHEMA`."""
    config = column.config
    batches = list(column.prompts.iter_slices(config.target.batch_size))
    tables = []
    for batch in progress(batches, "evaluate"):
        ids = batch["prompt_id"].to_list()
        noise_BLHK = torch.stack([_prompt_noise(config.seed, prompt, target, model.config) for prompt in ids])
        errors = _batch_errors(target, model, token_ids(batch), noise_BLHK)
        tables.append(_cell_table(ids, target, errors))
    return pl.concat(tables)


def mask_noise(noise_NK: Tensor, grid_size: int, mask_ratio: float) -> Tensor:
    """Noise that masks the same patches in models with and without row tokens.

    As a model with row tokens does it, `mask_ratio` of the last row of patches is masked, and
    `mask_ratio` of the others: these get the largest noise of all. Where rounding down loses a
    patch, a model without row tokens masks one more; with 4, 8 or 16 patches a side and a ratio of
    0.25, 0.5 or 0.75 it does not.

    Args:
        noise_NK: (N, K) uniform in [0, 1).
    """
    parts = noise_NK[:, :-grid_size], noise_NK[:, -grid_size:]
    return torch.cat([part + _largest(part, mask_ratio) for part in parts], dim=1)


def _largest(noise_NK: Tensor, mask_ratio: float) -> Tensor:
    """Which patches are masked: as many as a model does, with the largest noise; (N, K) bool."""
    count = noise_NK.shape[1]
    return noise_NK.argsort(dim=1).argsort(dim=1) >= count - int(mask_ratio * count)


def _prompt_noise(seed: int, prompt_id: int, target: Target, config: APMAEConfig) -> Tensor:
    """Mask noise of a prompt's patterns, (L, H, K)."""
    generator = torch_generator(seed, "evaluation", prompt_id)
    noise = torch.rand(len(target.heads), config.causal_patches, generator=generator)
    stratified = mask_noise(noise, config.grid_size, config.mask_ratio)
    return stratified.view(target.n_layers, target.n_heads, -1)


def _batch_errors(
    target: Target, model: APMAEModel, input_ids: TokenIds, noise_BLHK: Tensor
) -> ReconstructionErrors:
    """Errors of all patterns of a few prompts, (B, L, H) each."""
    seen: Counter[int] = Counter()

    def reduce(layer: int, log_patches_BHKP: Tensor) -> Tensor:
        count = len(log_patches_BHKP)
        noise_BHK = noise_BLHK[seen[layer] : seen[layer] + count, layer]
        seen[layer] += count
        errors = _errors(model, log_patches_BHKP.flatten(0, 1), noise_BHK.flatten(0, 1))
        return errors.view(len(errors), count, target.n_heads)

    _, layers = target.capture_patches(input_ids, model.config.patch_size, reduce)
    by_layer = [torch.cat(layers[layer], dim=1) for layer in range(target.n_layers)]
    return ReconstructionErrors(*torch.stack(by_layer, dim=2))


def _errors(model: APMAEModel, log_patches_NKP: Tensor, noise_NK: Tensor) -> Tensor:
    """`ReconstructionErrors` of patterns, a batch at a time: (3, N) on the CPU."""
    parts = []
    for start in range(0, len(noise_NK), PATTERNS_PER_BATCH):
        rows = slice(start, start + PATTERNS_PER_BATCH)
        log_patches, noise = (tensor[rows].to(model.device) for tensor in (log_patches_NKP, noise_NK))
        parts.append(torch.stack(reconstruction_errors(model, log_patches, noise)))
    return torch.cat(parts, dim=1).cpu()


def _cell_table(prompt_ids: list[int], target: Target, errors: ReconstructionErrors) -> pl.DataFrame:
    places = [(prompt, layer, head) for prompt in prompt_ids for layer, head in target.heads]
    table = pl.DataFrame(places, schema=["prompt_id", "layer", "head"], orient="row")
    measured = {name: values.flatten().numpy() for name, values in errors._asdict().items()}
    return table.with_columns(**measured).cast(CELL_SCHEMA)


def _cell_key(model: APMAEModel, column: TargetColumn) -> str:
    """Hash of the encoder, the target, and what prompts and masks depend on."""
    shape = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
    prompts = column.prompts.select("prompt_id", "input_ids").to_dict(as_series=False)
    inputs = [CELL_SCHEMA.names(), shape, column.config.target.result_values(), column.config.seed, prompts]
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
