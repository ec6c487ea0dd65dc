"""A study's configuration: frozen models, one section per concern, unknown keys are errors.

`docs/config.md` is generated from this file, so a field's description is its documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from apmae.languages import language_named
from apmae.study.presets import with_preset
from apmae.vocabulary import (
    BLOCKS,
    TOKEN_BLOCKS,
    TOKEN_BLOCKS_OF_HEADS,
    UNIONS,
    ClusteringMethod,
    CorrectOutcome,
    DecoderContext,
    Detector,
    EncodePatches,
    EncoderSize,
    HeadsDrawnPer,
    OperationName,
    Preset,
    PromptFormat,
    Readout,
    Scaling,
    Selection,
    TargetPrecision,
    TokenModel,
    TokenValues,
    WorkerBackend,
    blocks_in,
)


def _parse_exponent(value: Any) -> Any:
    """Turn text such as `1e3` into a whole number; leave every other value to pydantic."""
    if isinstance(value, str) and "e" in value.lower():
        with suppress(ValueError):
            number = float(value)
            return int(number) if number.is_integer() else value
    return value


def _expand_home(name: str) -> str:
    """A path that starts with `~` as one that says where that is."""
    return str(Path(name).expanduser()) if name.startswith("~") else name


WholeNumber = Annotated[int, BeforeValidator(_parse_exponent)]
Seed = Annotated[WholeNumber, Field(ge=0, lt=2**64)]
Positive = Annotated[WholeNumber, Field(gt=0)]

OLD_PRECISIONS = {"no": "float32", "bf16": "bfloat16"}
"""Spellings of earlier versions."""

Precision = Annotated[
    Literal["auto", "float32", "bfloat16"],
    BeforeValidator(lambda value: OLD_PRECISIONS.get(value, value) if isinstance(value, str) else value),
]
"""Of the AP-MAE's arithmetic; `auto`: bfloat16 where the device computes it natively, else float32."""

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """Base of every section: frozen, and strict about unknown keys.

    Values may be text, as in a study file: a field's type decides what the text means.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    without_effect: ClassVar[frozenset[str]] = frozenset()
    """Fields that change how fast or where results are made, not what they are."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Keys of earlier versions, and what they are called now."""

    @model_validator(mode="before")
    @classmethod
    def _name_the_new_key(cls, values: Any) -> Any:
        for old, new in cls.renamed.items():
            if isinstance(values, dict) and old in values:
                raise ValueError(f"{old} is called {new} now")
        return values

    @field_validator("*", mode="before")
    @classmethod
    def _wrap_single_value(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        is_single = get_origin(annotation) is tuple and isinstance(value, str | int | float)
        return (value,) if is_single else value

    def result_values(self) -> dict[str, Any]:
        """Values of the fields that results depend on."""
        return self.model_dump(mode="json", exclude=set(self.without_effect))


class TargetConfig(Section):
    """The language model under study."""

    without_effect = frozenset({"device", "batch_size"})

    model: str = "smollm2-135m"
    """Hub id, directory, `.gguf` file, or alias (`java-fim-4m`, `java-fim-12m`, and `smollm2-135m`, which is
    SmolLM2-135M-Instruct in 4 bits, Q4_1)."""
    dtype: TargetPrecision = "auto"
    """Precision of the weights; scores and patterns are float32 in every case. `auto`: bfloat16 where the
    device computes it natively, else float32. A study writes what `auto` stands for into its directory
    and keeps it, wherever it goes on."""
    device: str = "auto"
    """Torch device, `auto` (CUDA, then MPS, then CPU), or `balanced` to spread over several GPUs."""
    batch_size: Positive = 16
    """Prompts per forward pass. Like the device, it changes results in the last digits of sums alone."""
    trust_remote_code: bool = False
    """Let the hub repository's own Python code run, in the stages of this file. Commands that read a finished
    study (`score`, `evaluate`, `export-model`) ask for `--trust-remote-code` whatever its directory says."""


class CorpusConfig(Section):
    """Where source files come from."""

    source: Literal["jdk", "python-stdlib", "directory", "archive", "hub"] = "jdk"
    """`jdk`: the `src.zip` of an installed JDK; `python-stdlib`: the standard library of the Python that
    runs; `directory`; `archive` (.zip, .tar.*); `hub`: a streamed Hugging Face data set."""
    path: str | None = None
    """A JDK's home or `src.zip` (optional), the directory, the archive, or the data set's id."""
    language: str = "java"
    """Language of the files and of the task queries, see docs/languages.md."""
    max_file_bytes: Positive = 200_000
    """Larger files are skipped (and counted)."""
    max_files: Positive | None = None
    """Stop after this many files; all of them by default."""
    drop: tuple[Literal["no code", "generated", "minified"], ...] = ("no code", "generated", "minified")
    """Kinds of files that are skipped (and counted), see docs/corpus.md."""
    near_duplicate_similarity: Annotated[float, Field(gt=0, le=1)] = 0.85
    """Of files whose code is at least this similar (Jaccard similarity of five-token shingles, estimated
    with MinHash) one is kept; exact duplicates are always skipped."""
    groups_file: str | None = None
    """Text file that lists groups (packages, projects), one a line: files of others are skipped."""
    hub_config: str | None = None
    """Hub only: the data set's configuration name."""
    hub_split: str = "train"
    """Hub only: the split to stream."""
    hub_revision: str | None = None
    """Hub only: commit, tag or branch."""
    text_column: str = "content"
    """Hub only: the column that holds the source text."""
    group_column: str | None = None
    """Hub only: the column that names the project; without it every file is its own group."""
    exclude_flags: tuple[str, ...] = ()
    """Hub only: boolean columns; a row with any of them true is dropped (The Heap flags duplicates
    of a model's training data this way)."""

    @model_validator(mode="after")
    def _path_given(self) -> Self:
        if self.source == "python-stdlib":
            if self.path:
                raise ValueError("corpus.path has no meaning with corpus.source: python-stdlib")
        elif self.source != "jdk" and not self.path:
            raise ValueError(f"corpus.path is needed for corpus.source: {self.source}")
        return self

    @model_validator(mode="after")
    def _language_of_source(self) -> Self:
        language_named(self.language)
        only = {"jdk": "java", "python-stdlib": "python"}.get(self.source, self.language)
        if self.language != only:
            raise ValueError(
                f"corpus.source: {self.source} has no {self.language}; set corpus.language: {only}"
            )
        return self


class PromptsConfig(Section):
    """Which prompts are mined, how many, and how they are split."""

    tasks: tuple[str, ...] = ("eol", "identifiers", "string_literals")
    """Tasks to mine (paper section 5.1), of those that docs/languages.md lists for the language."""
    per_task: Annotated[WholeNumber, Field(ge=4)] = 1_000
    """Prompts per task: half of them completed correctly, half incorrectly."""
    encoder_prompts: Positive = 1_000
    """Further prompts of the task `random`, at their base rate, to train the encoder on."""
    per_file: Positive = 4
    """At most this many prompts per task and outcome from one file."""
    max_candidates: Positive = 20_000
    """At most this many candidates of a task are tried; a task whose rarer outcome is rarer than that
    goes on with fewer prompts, and says so."""
    length_tokens: Annotated[WholeNumber, Field(ge=16)] = 256
    """Tokens per prompt."""
    format: PromptFormat = "auto"
    """`fim`: fill in the middle with the model's own sentinels; `auto`: `fim` where the tokenizer
    has them, else `causal`. See docs/prompt-formats.md."""
    outcome: CorrectOutcome = "first_token"
    """When a completion is correct: `first_token`: the most probable next token is the first one of the
    hole; `whole_hole`: greedy decoding writes all of its tokens. See docs/mining.md."""
    test_fraction: Fraction = 0.25
    """Fraction of the groups (packages, projects) held out from fitting."""
    development_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of the groups kept for designing methods: neither fitted nor measured on, unless
    `measured_split` says so. The test groups are the same whatever it is. See docs/interventions.md."""

    @model_validator(mode="after")
    def _groups_left_to_fit_on(self) -> Self:
        if self.test_fraction + self.development_fraction >= 1:
            raise ValueError(
                "prompts.test_fraction and prompts.development_fraction leave no group to fit on"
            )
        return self

    @model_validator(mode="after")
    def _tasks_given_once(self) -> Self:
        if not self.tasks:
            raise ValueError("prompts.tasks is empty")
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError("prompts.tasks names a task twice")
        return self


class TokensConfig(Section):
    """Every token as an example: what is kept of windows of the corpus, besides the prompts."""

    windows: Annotated[WholeNumber, Field(ge=0)] = 0
    """Windows of `prompts.length_tokens` tokens; 0: none."""
    per_file: Positive = 2
    """At most this many windows from one file."""
    per_window: Annotated[WholeNumber, Field(ge=32)] = 64
    """Tokens that are kept of a window, drawn by syntax class and outcome."""
    context_tokens: Annotated[WholeNumber, Field(ge=33)] = 64
    """Tokens that stand before a token that is kept, at least; of causal windows."""
    middle_tokens: Annotated[WholeNumber, Field(ge=2)] = 64
    """Tokens of the hole that a fill-in-the-middle window fills in, all of which are looked at."""
    hidden_dimensions: Positive = 128
    """Dimensions that the residual stream is projected to, at random."""


class TokenPredictorConfig(Section):
    """How correctness is predicted of single tokens, where `tokens.windows` keeps some."""

    features: str = "confidence+occurrences+copies"
    """What it looks at, joined by "+": `confidence`, `occurrences`, `hidden`, and of heads `rows`, `copies`
    or both. docs/tokens.md says what they are."""
    model: TokenModel = "mlp"
    """`linear`; `mlp`: a perceptron of two hidden layers; `heads`: a small transformer over the heads."""

    @model_validator(mode="after")
    def _looks_at_heads(self) -> Self:
        blocks = self.features.split("+")
        if unknown := [block for block in blocks if block not in TOKEN_BLOCKS]:
            raise ValueError(f"token_predictor.features: {unknown[0]!r} is none of {', '.join(TOKEN_BLOCKS)}")
        if len(set(blocks)) < len(blocks):
            raise ValueError("token_predictor.features names a block twice")
        if not set(blocks) & set(TOKEN_BLOCKS_OF_HEADS):
            raise ValueError(f"token_predictor.features has none of {' and '.join(TOKEN_BLOCKS_OF_HEADS)}")
        return self


class EffectsConfig(Section):
    """What every head does: the change of a task's completions when it is ablated alone."""

    prompts_per_outcome: Annotated[WholeNumber, Field(ge=0)] = 16
    """Prompts per task, outcome and split, training and measured; 0: no effects."""
    operations: tuple[Literal["zero", "mean"], ...] = ("zero", "mean")
    """Zero ablation, and mean ablation: the head's mean output over training prompts takes the place of its
    output. Both on the measured split; on training prompts, which choose heads, the first one alone."""
    exact_heads: Annotated[WholeNumber, Field(ge=0)] = 48
    """Heads of a task that are ablated one by one: all where the target has no more, else a third each of
    the largest and the smallest attribution, and the others at random."""
    partitions: Positive = 4
    """Attribution: the heads are parted at random, and each part is scaled down with the others at full."""
    points: Positive = 2
    """Attribution: points between no and full ablation at which the gradient is taken."""

    @model_validator(mode="after")
    def _given_once(self) -> Self:
        if not self.operations or len(set(self.operations)) < len(self.operations):
            raise ValueError("effects.operations is empty or names one twice")
        return self


FEWEST_ROLE_WINDOWS = 8
"""A role that fewer windows have is left out."""


class RolesConfig(Section):
    """What every head looks at: the token before, the matching bracket, a name's declaration and more."""

    windows: Annotated[WholeNumber, Field(ge=0)] = 48
    """Windows of `prompts.length_tokens` tokens of the corpus, 8 or more; 0: no roles."""
    per_file: Positive = 1
    """At most this many windows from one file."""
    random_sequences: Positive = 16
    """Sequences of random tokens that are repeated once, of the same length."""

    @model_validator(mode="after")
    def _enough_windows(self) -> Self:
        if 0 < self.windows < FEWEST_ROLE_WINDOWS:
            raise ValueError(f"roles.windows is 0 or at least {FEWEST_ROLE_WINDOWS}")
        return self


class EncoderConfig(Section):
    """The AP-MAE. `size: paper` is Table 1 of the paper."""

    renamed = {"row_loss_share": "row_loss_fraction"}

    pretrained: Annotated[str, AfterValidator(_expand_home)] | None = None
    """Directory or hub id of a trained AP-MAE; the train stage then trains nothing."""
    size: EncoderSize = "small"
    """`paper`: 101 M + 25 M parameters; `small`: for a laptop; `tiny`: for tests and the demo."""
    patch_size: Positive = 32
    """Side of a patch in tokens; divides `prompts.length_tokens`."""
    mask_ratio: Fraction = 0.5
    """Fraction of the patches that are masked in training."""
    scaling: Scaling = "absolute"
    """`min_normalized`: the paper's; `absolute`: one fixed log scale for all heads and prompts;
    `probability`: attention as it is, unscaled (the paper's ablation, section 4.2, figure 1b)."""
    token_values: TokenValues = "with_level"
    """What is embedded of a patch: `normalized`: its values after LayerNorm (the paper's), which loses how
    large they are; `with_level`: these, and their mean and spread."""
    row_tokens: bool = True
    """Feed the predicting position's row as further tokens of 1 x row_token_size."""
    row_token_size: Positive = 8
    """Width of a row token; divides `patch_size`."""
    row_loss_fraction: Fraction = 0.9
    """Part of the loss that is the row tokens'; the rest is the patches'."""
    decoder_context: DecoderContext = "visible"
    """What the decoder sees of the encoder's output."""
    encode_patches: EncodePatches = "causal"
    """Patches fed when encoding: the lower triangle, or the whole grid (released models)."""


class TrainingConfig(Section):
    """How the AP-MAE is trained (paper section 4).

    On several GPUs: `accelerate launch --multi_gpu --num_processes 8 -m apmae train STUDY.yaml` (2, 4 or
    8 processes; `apmae encode` likewise). The number of processes changes sums in their
    last digits only. On CPUs too: without `--multi_gpu` Accelerate starts one process there, silently.
    """

    renamed = {"accumulate": "gradient_accumulation_steps"}
    without_effect = frozenset(
        {"gradient_accumulation_steps", "checkpoint_every_steps", "sample_every_steps", "tracker"}
    )

    steps: Positive = 2_000
    """Optimiser steps."""
    seed: Seed | None = None
    """Of the encoder's initial weights, its batches and their masks; the study's seed by default. Encoders of
    several seeds are trained on the same prompts and validated on the same patterns."""
    batch_size: Annotated[WholeNumber, Field(gt=0, multiple_of=8)] = 128
    """Patterns per step, over all processes."""
    gradient_accumulation_steps: Positive = 1
    """Micro-batches that a step is worked through in, where a batch is too big for the memory."""
    base_learning_rate: Annotated[float, Field(gt=0)] = 1.5e-4
    """Learning rate per 50 patterns of batch; scaled linearly (paper section 4)."""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Fraction of the steps over which the learning rate rises; cosine decay after it."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """AdamW's, with betas (0.9, 0.95)."""
    head_fraction: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Fraction of every layer's heads taken from one prompt."""
    heads_drawn_per: HeadsDrawnPer = "batch"
    """`prompt`: every prompt has its own draw of heads (the paper's). A forward pass then captures nearly all
    heads and most patterns are dropped. `batch`: the prompts of an eighth of a round share a draw, and only
    these heads are captured."""
    correct_only: bool = True
    """Train on the patterns of correct completions only."""
    prompts_per_round: Annotated[WholeNumber, Field(gt=0, multiple_of=8)] = 64
    """Prompts whose patterns are mixed before batches are drawn; bounds the memory of the mix."""
    validation_prompts: Positive = 16
    """Prompts of held-out groups for the validation loss."""
    validate_every_steps: Positive = 100
    """Steps between validations."""
    checkpoint_every_steps: Positive = 100
    """Steps between checkpoints; a killed training goes on from the last one."""
    sample_every_steps: Positive = 500
    """Steps between pictures of reconstructions, in `encoder/training/samples/`."""
    precision: Precision = "auto"
    """Autocast precision of the AP-MAE; `auto` as in target.dtype."""
    tracker: Literal["none", "tensorboard", "wandb", "trackio"] = "none"
    """Experiment tracker, through Accelerate."""


class EncodingConfig(Section):
    """How every head of every prompt is encoded."""

    shard_prompts: Positive = 64
    """Prompts per shard of encodings.zarr: the unit that is written, and lost, at once."""
    precision: Precision = "auto"
    """Autocast precision of the encoder; `auto` as in target.dtype."""
    readouts: tuple[Readout, ...] = ("cls", "row")
    """Encodings that are kept: `cls`: [CLS]; `row`: mean over the row tokens or, without them, over the
    last row of patches; `row_ends`: the first and the last of these side by side; `row_concat`: all of them,
    wide; `mean`: mean over all tokens."""
    random_encoder: bool = False
    """Encode and cluster with an AP-MAE of random weights too, to see what its training is worth.
    A second pass of the encoder over every pattern."""
    detectors: tuple[Detector, ...] = ()
    """Published detectors whose columns are kept, as feature blocks of the same names:
    `laplacian_eigenvalues`: ten for each head (LapEigvals, arXiv 2502.17598); `sink_scores`: ten for each
    head (SinkProbe, arXiv 2604.10697); `lookback_ratios`: one for each head (Lookback Lens, arXiv
    2407.07071); `rauq`: one (RAUQ, arXiv 2505.20045); `logit_lens_entropies`: three for each layer (TriLens,
    arXiv 2606.01033)."""


class ClusteringConfig(Section):
    """How each head's encodings are clustered (paper section 5.1)."""

    without_effect = frozenset({"processes", "backend"})

    method: ClusteringMethod = "kmeans"
    """`umap_hdbscan` is the paper's."""
    readout: Readout = "cls"
    """Which encoding is clustered, one of encoding.readouts."""
    n_clusters: Annotated[WholeNumber, Field(ge=2)] = 6
    """kmeans: clusters per head."""
    umap_dimensions: Positive = 8
    """umap_hdbscan: dimensions that UMAP reduces to."""
    umap_neighbors: Annotated[WholeNumber, Field(ge=2)] = 20
    """umap_hdbscan: UMAP's n_neighbors."""
    umap_min_dist: Annotated[float, Field(ge=0)] = 0.05
    """umap_hdbscan: UMAP's min_dist."""
    min_cluster_size: Annotated[WholeNumber, Field(ge=2)] = 25
    """umap_hdbscan: HDBSCAN's min_cluster_size."""
    min_samples: Positive = 20
    """umap_hdbscan: HDBSCAN's min_samples."""
    allow_single_cluster: bool = False
    """umap_hdbscan: HDBSCAN's allow_single_cluster, which the paper's release sets. On `java-fim-4m` it gave
    one cluster and noise in 17 of 17 heads, and 2 to 6 clusters without it."""
    assign_neighbors: Positive = 15
    """umap_hdbscan: neighbours that vote when a new encoding is assigned to a cluster."""
    processes: Positive | None = None
    """Worker processes; all cores by default. Results do not depend on it."""
    backend: WorkerBackend = "loky"
    """joblib backend: this machine, or a cluster."""


class PredictionConfig(Section):
    """How correctness is predicted (paper section 6)."""

    without_effect = frozenset({"processes"})

    features: tuple[str, ...] = (
        "clusters",
        "row_statistics",
        "copy_attention",
        "cls_encodings",
        "clusters+row_statistics+cls_encodings",
        "confidence+clusters",
        "confidence+row_statistics",
        "confidence+clusters+row_statistics+cls_encodings",
        "strong+clusters",
        "strong+row_statistics",
        "strong+copy_attention",
    )
    """Feature sets: blocks (`clusters`, `row_statistics`, `copy_attention`, `cls_encodings`, `row_encodings`,
    `mean_encodings`, `row_ends_encodings`, `row_concat_encodings`, `confidence`, `max_probability`, `margin`,
    `entropy`, `top_log_probs`, `occurrences`, `token_kind`, `token_identity`, `hidden_state`,
    `last_hidden_state`, `hidden_states`, `laplacian_eigenvalues`, `sink_scores`, `lookback_ratios`, `rauq`,
    `logit_lens_entropies`, `position`, `file_memory`, `random_clusters`) and their unions, written with
    `+`. `strong` is the union of all that is known without attention. The baselines are always measured, see
    docs/prediction.md."""
    scorer: str = "confidence+token_kind+occurrences+copy_attention"
    """Feature set that `apmae score` predicts with: blocks that one forward pass gives (not `prior`,
    `position`, `file_memory`, and so not `strong`, nor clusters), blocks of heads among them. With encodings
    it needs the encoder's pass too."""
    folds: Annotated[WholeNumber, Field(ge=2)] = 10
    """Folds of the cross-validation."""
    iterations: Positive = 200
    """CatBoost's trees."""
    depth: Annotated[WholeNumber, Field(gt=0, le=16)] = 4
    """CatBoost's tree depth."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    """CatBoost's learning rate."""
    early_stopping_rounds: Positive | None = None
    """CatBoost stops once so many trees in a row have not lowered the loss on a random tenth of its training
    prompts, which it is then not fitted on (the paper's split); off by default."""
    processes: Positive | None = None
    """Worker processes; all cores by default. Results do not depend on it."""

    @model_validator(mode="after")
    def _features_known_and_given_once(self) -> Self:
        known = (*BLOCKS, *UNIONS)
        if not self.features:
            raise ValueError("prediction.features is empty")
        unions = [blocks_in(features) for features in self.features]
        for block in chain.from_iterable(unions):
            if block not in BLOCKS:
                raise ValueError(f"prediction.features: {block!r} is none of {', '.join(known)}")
        if len({frozenset(blocks) for blocks in unions}) < len(unions):
            raise ValueError("prediction.features names a feature set twice")
        if any(len(set(blocks)) < len(blocks) for blocks in unions):
            raise ValueError("prediction.features names a block twice in one union")
        return self

    @model_validator(mode="after")
    def _scorer_sees_heads_in_one_pass(self) -> Self:
        blocks = blocks_in(self.scorer)
        in_one_pass = [name for name, block in BLOCKS.items() if block.in_one_pass]
        if unfit := [block for block in blocks if block not in in_one_pass]:
            raise ValueError(f"prediction.scorer: {unfit[0]!r} is none of {', '.join(in_one_pass)}")
        if len(set(blocks)) < len(blocks):
            raise ValueError("prediction.scorer names a block twice")
        if not any(BLOCKS[block].per_head for block in blocks):
            raise ValueError("prediction.scorer has no block of heads, such as copy_attention")
        return self


class InterventionConfig(Section):
    """Which heads are changed, how, and on how many prompts (paper section 7)."""

    renamed = {"random_draws": "random_seeds"}

    importance: tuple[str, ...] = ("clusters",)
    """Whose importance chooses the heads: models of `clusters` (the paper's), or of another block of heads
    that prediction.features names."""
    selections: tuple[Selection, ...] = (
        "positive",
        "negative",
        "neutral",
        "random",
        "greedy",
        "effects",
        "learned_gates",
    )
    """How heads are chosen. `positive`, `negative`, `neutral`: by the mean of a head's positive SHAP values,
    of its negative ones, and of their sizes. `positive_mean`, `negative_mean`, `neutral_mean`: by its mean
    SHAP value (the paper's). `random`: the control. `greedy`: one by one, each time the head whose zero
    ablation helps tuning prompts most. `effects`: by the effect of zero ablation on training prompts, those
    that it helps most first. `learned_gates`: a factor in [0, 1] for every head, all learned together."""
    operations: tuple[OperationName, ...] = ("zero", "mean", "scale")
    """What is done to a head's output: zero ablation (the paper's), mean ablation (its mean over tuning
    prompts), or scaling by a factor. Greedy selection uses zero ablation."""
    factors: tuple[float, ...] = (0.5,)
    """scale: the factors."""
    head_counts: tuple[Positive, ...] = (1, 2, 5, 10, 20, 50, 100, 200, 400, 600, 800)
    """Heads changed per condition; counts above the model's number of heads are left out."""
    random_seeds: Positive = 3
    """Seeds of the random selection, the control of the first operation (the paper's studies: 10). There are
    at least as many as SHAP selections, so that the best random heads can be chosen on tuning prompts from as
    many conditions."""
    prompts_per_outcome: Positive = 1_000
    """Held-out prompts per task and outcome: this many correct ones, this many incorrect ones."""
    tuning_prompts_per_outcome: Positive = 50
    """Prompts of the training part, per task and outcome, on which greedy selection, the gate's
    threshold and the best condition are chosen."""
    greedy_candidates: Positive = 8
    """greedy: how many heads are tried at a time, those whose gradients promise most."""
    greedy_heads: Positive = 8
    """greedy: at most this many heads."""
    gate_steps: Positive = 60
    """learned_gates: steps of gradient descent."""
    gate_penalties: tuple[Annotated[float, Field(gt=0)], ...] = (0.003,)
    """learned_gates: nats of the true token's log probability that closing a gate has to gain. Gates are
    learned for each."""
    gate: str = "confidence"
    """Feature set whose prediction opens the gate: gated interventions change only completions that
    are predicted to be incorrect."""
    side_effect_prompts: Positive = 50
    """Prompts per other task, and of random code, on which the side effects of a task's best intervention
    are measured."""

    generated_holes: Annotated[WholeNumber, Field(ge=0)] = 50
    """Holes per task, of files of the measured split, that the target fills in as a whole, as it is and under
    the task's best intervention; 0: none. See docs/interventions.md."""

    @model_validator(mode="after")
    def _given_once(self) -> Self:
        for name in ("importance", "selections", "operations", "factors", "head_counts", "gate_penalties"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"intervention.{name} names one twice")
        per_head = [name for name, block in BLOCKS.items() if block.per_head]
        for block in self.importance:
            if block not in per_head:
                raise ValueError(f"intervention.importance: {block!r} is none of {', '.join(per_head)}")
        return self


class ReportConfig(Section):
    """What the report shows."""

    gallery_clusters: Positive = 12
    """Clusters in the gallery (paper figure 2)."""
    reconstructions: Positive = 4
    """Patterns in the reconstruction figure (paper figure 1)."""


class StudyConfig(Section):
    """One target x corpus x tasks x encoder."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the study and of its directory."""
    seed: Seed = 0
    """Every random draw derives from it."""
    preset: Preset = "none"
    """`paper`: keys that the file does not set have the paper's values instead of the defaults. They are
    listed at the end of this page; docs/paper.md compares a study with the paper."""
    directory: Annotated[Path, AfterValidator(Path.expanduser)] | None = None
    """Where the study lives; `runs/<name>` by default."""
    measured_split: Literal["test", "development"] = "test"
    """Split that predictions and interventions are measured on; the other one is used for nothing.
    `development` is for designing methods, with a `prompts.development_fraction`."""
    target: TargetConfig = TargetConfig()
    corpus: CorpusConfig = CorpusConfig()
    prompts: PromptsConfig = PromptsConfig()
    tokens: TokensConfig = TokensConfig()
    token_predictor: TokenPredictorConfig = TokenPredictorConfig()
    effects: EffectsConfig = EffectsConfig()
    roles: RolesConfig = RolesConfig()
    encoder: EncoderConfig = EncoderConfig()
    training: TrainingConfig = TrainingConfig()
    encoding: EncodingConfig = EncodingConfig()
    clustering: ClusteringConfig = ClusteringConfig()
    prediction: PredictionConfig = PredictionConfig()
    intervention: InterventionConfig = InterventionConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_preset(cls, values: Any) -> Any:
        return with_preset(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _random_clusters_made(self) -> Self:
        if "random_clusters" in "+".join(self.prediction.features) and not self.encoding.random_encoder:
            raise ValueError("prediction.features: random_clusters needs encoding.random_encoder: true")
        return self

    @model_validator(mode="after")
    def _encodings_made(self) -> Self:
        made = self.encoding.readouts
        if len(set(made)) < len(made):
            raise ValueError("encoding.readouts names one twice")
        if self.clustering.readout not in made:
            raise ValueError(f"clustering.readout: {self.clustering.readout} is not in encoding.readouts")
        blocks = blocks_in("+".join((*self.prediction.features, self.prediction.scorer)))
        wanted = (block.removesuffix("_encodings") for block in blocks if block.endswith("_encodings"))
        if missing := [readout for readout in wanted if readout not in made]:
            raise ValueError(f"prediction: {missing[0]}_encodings needs {missing[0]} in encoding.readouts")
        not_kept = set(get_args(Detector)).difference(self.encoding.detectors)
        if missing := [block for block in blocks if block in not_kept]:
            raise ValueError(f"prediction: {missing[0]} needs {missing[0]} in encoding.detectors")
        return self

    @model_validator(mode="after")
    def _intervention_follows_prediction(self) -> Self:
        predicted = {"clusters", *blocks_in("+".join(self.prediction.features))}
        for block in self.intervention.importance:
            if block not in predicted:
                raise ValueError(
                    f"intervention.importance: no feature set of prediction.features has {block}"
                )
        if self.intervention.gate not in ("confidence", *self.prediction.features):
            raise ValueError(
                f"intervention.gate: {self.intervention.gate!r} is neither confidence nor one of "
                "prediction.features"
            )
        return self

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        trained_here = self.encoder.pretrained is None
        if trained_here and self.prompts.length_tokens % self.encoder.patch_size:
            raise ValueError(
                f"encoder.patch_size {self.encoder.patch_size} does not divide "
                f"prompts.length_tokens {self.prompts.length_tokens}"
            )
        if self.encoder.row_tokens and self.encoder.patch_size % self.encoder.row_token_size:
            raise ValueError(
                f"encoder.row_token_size {self.encoder.row_token_size} does not divide "
                f"encoder.patch_size {self.encoder.patch_size}"
            )
        return self

    @model_validator(mode="after")
    def _language_has_the_tasks(self) -> Self:
        language = language_named(self.corpus.language)
        if unknown := [task for task in self.prompts.tasks if task not in language.tasks]:
            raise ValueError(
                f"prompts.tasks: {language.name} has no task {', '.join(unknown)}; "
                f"there are: {', '.join(language.tasks)}"
            )
        return self

    @model_validator(mode="after")
    def _measured_split_made(self) -> Self:
        if self.measured_split == "development" and not self.prompts.development_fraction:
            raise ValueError("measured_split: development needs a prompts.development_fraction")
        return self

    @property
    def analysed_splits(self) -> tuple[str, str]:
        """The split that is fitted on, and the one that is measured on."""
        return "train", self.measured_split

    @property
    def training_seed(self) -> int:
        """Seed of what training draws."""
        return self.seed if self.training.seed is None else self.training.seed

    @property
    def study_directory(self) -> Path:
        """The directory that holds every artifact of this study."""
        return self.directory or Path("runs") / self.name
