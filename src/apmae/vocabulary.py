"""The words that a study file can use, each spelled once. This module imports nothing of apmae.

`apmae.study.config` says in which key a word is used; the rooms that do what a word says import it here.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

TargetPrecision = Literal["auto", "float32", "bfloat16", "float16"]
"""Of the target's weights; `auto`: bfloat16 where the device computes it natively, else float32."""

Preset = Literal["none", "paper"]
"""Whose choices stand for what a study file leaves out, see `apmae.study.presets`."""

PromptFormat = Literal["auto", "causal", "fim"]
CorrectOutcome = Literal["first_token", "whole_hole"]
"""`auto`: `fim` where the tokenizer has the sentinels, else `causal`."""

EncoderSize = Literal["paper", "small", "tiny"]
Scaling = Literal["min_normalized", "absolute", "probability"]
"""How log probabilities become the values of a pattern, see `apmae.autoencoder.patterns.scale`."""

TokenValues = Literal["normalized", "with_level"]
"""What is embedded of a token: the LayerNorm of its values, or that with their mean and deviation."""

DecoderContext = Literal["visible", "cls"]
EncodePatches = Literal["causal", "all"]

HeadsDrawnPer = Literal["batch", "prompt"]
"""How many prompts share a draw of the heads that the AP-MAE is trained on."""

Readout = Literal["cls", "row", "mean", "row_ends", "row_concat"]
"""What of the encoder's output is a head's encoding, see `apmae.autoencoder.APMAEModel.encode`."""

Detector = Literal["laplacian_eigenvalues", "sink_scores", "lookback_ratios", "rauq", "logit_lens_entropies"]
"""Published detectors of incorrect completions, see `apmae.encoding.detectors`."""

TokenModel = Literal["linear", "mlp", "heads"]
"""Classifiers of single tokens, see `apmae.token_study.models`."""

ClusteringMethod = Literal["kmeans", "umap_hdbscan"]
WorkerBackend = Literal["loky", "dask", "ray"]
Protocol = Literal["cross_validation", "grouped_cross_validation", "held_out"]
"""Which prompts a classifier is fitted on, and which it is tested on."""

Selection = Literal[
    "positive",
    "negative",
    "neutral",
    "positive_mean",
    "negative_mean",
    "neutral_mean",
    "random",
    "greedy",
    "effects",
    "learned_gates",
]
"""How heads are chosen for an intervention, see `apmae.intervention.selections`."""

OperationName = Literal["zero", "mean", "scale"]
"""What is done to a head's output, see `apmae.intervention.operations`."""


class Block(NamedTuple):
    """Columns that correctness can be predicted from; `apmae.prediction.features` says how they are read.

    Attributes:
        per_head: its columns belong to heads, the same number to each, so that heads have an importance.
        in_one_pass: one forward pass of the target, and of the encoder, gives it; a pass does not know the
            file and its line, and what clusters were fitted on is not kept.
        one_unit: its columns are amounts of one thing and keep their relative spread; those of other blocks
            are standardised one by one.
        is_baseline: every study measures it.
        beside_confidence: every study measures its union with `confidence` too.
    """

    name: str
    per_head: bool = False
    in_one_pass: bool = True
    one_unit: bool = False
    is_baseline: bool = False
    beside_confidence: bool = False


BLOCKS = {
    block.name: block
    for block in (
        Block("prior", in_one_pass=False, is_baseline=True),
        Block("position", in_one_pass=False, is_baseline=True, beside_confidence=True),
        Block("file_memory", in_one_pass=False, is_baseline=True, beside_confidence=True),
        Block("max_probability", is_baseline=True),
        Block("margin", is_baseline=True),
        Block("entropy", is_baseline=True),
        Block("confidence", is_baseline=True),
        *(
            Block(name, is_baseline=True, beside_confidence=True)
            for name in (
                "top_log_probs",
                "occurrences",
                "token_kind",
                "token_identity",
                "hidden_state",
                "last_hidden_state",
                "hidden_states",
            )
        ),
        Block("clusters", per_head=True, in_one_pass=False),
        Block("row_statistics", per_head=True),
        Block("copy_attention", per_head=True, one_unit=True),
        *(Block(f"{readout}_encodings", per_head=True) for readout in get_args(Readout)),
        *(Block(name, per_head=name not in ("rauq", "logit_lens_entropies")) for name in get_args(Detector)),
        Block("random_clusters", in_one_pass=False),
    )
}
"""By name, in the order in which tables show them."""

UNIONS = {
    "strong": (
        "position",
        "confidence",
        "top_log_probs",
        "occurrences",
        "token_kind",
        "token_identity",
        "hidden_states",
    ),
}
"""Names of unions of blocks. `strong` is all that is known of a prediction without its attention patterns."""

TOKEN_BLOCKS = ("confidence", "occurrences", "hidden", "rows", "copies")
"""What the predictor of single tokens may look at, see `apmae.token_study.columns`."""

TOKEN_BLOCKS_OF_HEADS = ("rows", "copies")


def blocks_in(features: str) -> tuple[str, ...]:
    """The names that a feature set is written with, unions replaced by their blocks; any may be unknown."""
    return tuple(block for name in features.split("+") for block in UNIONS.get(name, (name,)))
