"""Every figure of the report, with what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
from matplotlib.figure import Figure

from apmae.autoencoder.reconstruction import Reconstruction
from apmae.figures.wording import count
from apmae.report import charts, cross_evaluation, maps
from apmae.report.material import TOP_HEADS, Material, paper_variant
from apmae.report.summaries import VARIANT

SCALINGS = {
    "absolute": "0 is an attention weight of at most one ten-millionth, 1 is all of the attention "
    "(log scale, the same for all patterns)",
    "min_normalized": "0 is the smallest attention weight of the pattern, 1 is all of the attention "
    "(log scale, each pattern on its own)",
    "probability": "0 to 1 is the attention weight itself",
}


@dataclass(frozen=True)
class Drawing:
    """A figure yet to be drawn; `name` is that of its files, `legible_pixels` its least useful width."""

    name: str
    draw: Callable[[], Figure]
    alt: str
    caption: str
    legible_pixels: int = 640


def drawings(material: Material, reconstructions: list[Reconstruction] | None) -> list[Drawing]:
    """The figures of this study, in the order of the page; one without data is left out."""
    m = material
    return [
        _target_accuracy(m),
        *_prediction(m, m.held_out, "held_out", "held-out groups"),
        *([] if m.reliability.is_empty() else [_reliability(m), _risk_coverage(m)]),
        *_prediction(m, m.cross_validation, "cross_validation", "cross-validation"),
        _clusters(m),
        *([_gallery(m)] if m.tiles else []),
        *([_reconstruction(m, reconstructions)] if reconstructions else []),
        *([] if m.evaluation is None else [_evaluation(m.evaluation)]),
        *([] if m.importance.is_empty() else [_importance(m), _mean_shap(m)]),
        *([] if paper_variant(m.effects).is_empty() else [_intervention_overview(m), _intervention_tasks(m)]),
        *([_intervention_variants(m)] if m.effects.select(VARIANT).n_unique() > 1 else []),
        *([] if m.history is None else [_training(m.history)]),
    ]


def pattern_scaling(material: Material) -> str:
    """What 0 and 1 mean in a picture of a pattern."""
    return SCALINGS[material.config.encoder.scaling]


def _target_accuracy(m: Material) -> Drawing:
    return Drawing(
        "target_accuracy",
        lambda: charts.target_accuracy(m.target_accuracy),
        alt="Bar chart of the target's rate of correct completions per task, and of the prompts kept.",
        caption="Left: fraction of all evaluated prompts whose next token the target predicts, with the 95% "
        "Wilson interval as a line. Right: how many correct and incorrect prompts were kept, so that later "
        "figures start from a balanced sample. Paper figure 4 (I).",
    )


def _prediction(m: Material, table: pl.DataFrame, protocol: str, protocol_name: str) -> list[Drawing]:
    if table.is_empty():
        return []
    fitted = {
        "held_out": "Fitted on the training groups, measured on prompts of groups never seen; clusters, too, "
        "are fitted on the training groups only. Intervals resample whole groups.",
        "cross_validation": "The paper's protocol: folds that may cut through groups, over all of which "
        "prompts are counted together. Clusters are fitted on all prompts, the tested ones included. "
        "Intervals resample whole groups.",
    }[protocol]
    shown = table.filter(pl.col("features").is_in(m.feature_sets))
    drawing = Drawing(
        f"prediction_{protocol}",
        lambda: charts.prediction(shown, protocol_name),
        alt=f"Accuracy and AUROC with 95% intervals per task and feature set, {protocol_name}.",
        caption=f"{fitted} Each mark is one feature set, the line its 95% interval; further right is better, "
        "and the dashed line at 0.5 is what guessing reaches on balanced prompts. Compare clusters with "
        "confidence, which costs nothing. Paper figure 4 (II).",
        legible_pixels=720,
    )
    return [drawing]


def _reliability(m: Material) -> Drawing:
    return Drawing(
        "reliability",
        lambda: charts.reliability(m.reliability),
        alt="Share of correct completions against the predicted probability, one panel for each feature set.",
        caption="Held-out prompts of all tasks, gathered by predicted probability in bins of a tenth. On the "
        "dashed line, predictions are true; below it they promise too much. The size of a dot is the share "
        "of prompts in its bin, the line the 95% Wilson interval. Not in the paper.",
        legible_pixels=720,
    )


def _risk_coverage(m: Material) -> Drawing:
    return Drawing(
        "risk_coverage",
        lambda: charts.risk_coverage(m.risk_coverage.filter(pl.col("features").is_in(m.headline_sets))),
        alt="Fraction of incorrect completions against the fraction trusted, one panel for each task.",
        caption="Held-out prompts, weighted to how often the target is right before balancing. From left to "
        "right ever less sure completions are trusted; the lower the curve, the fewer mistakes among them. "
        "At the right end all are trusted, and the mistakes are the target's own. Not in the paper.",
        legible_pixels=760,
    )


def _clusters(m: Material) -> Drawing:
    return Drawing(
        "clusters_per_head",
        lambda: maps.clusters_per_head(m.cluster_counts, m.shape),
        alt="Heat map of the number of clusters by layer and head, and a histogram of these numbers.",
        caption="Left: one cell a head, darker for more recurring patterns. Right: how many heads have that "
        "many. Prompts that fit no cluster (noise) are not counted as one. Paper figure 3.",
    )


def _gallery(m: Material) -> Drawing:
    names = [tile.name for tile in m.tiles]
    return Drawing(
        "gallery",
        lambda: maps.gallery(m.tile_patterns, names),
        alt="Attention patterns that stand for clusters: " + "; ".join(names) + ".",
        caption="Each picture is a real attention pattern near the middle of its cluster: brighter "
        "where the query position (row) attends more to the key position (column); "
        f"{pattern_scaling(m)}. The last row makes the prediction. Heads are in order of their largest "
        "importance in any task; of each, the cluster whose share of correct completions departs most from "
        "that of all prompts. Paper figure 2.",
    )


def _reconstruction(m: Material, items: list[Reconstruction]) -> Drawing:
    return Drawing(
        "reconstruction",
        lambda: maps.reconstructions(items),
        alt=f"{count(len(items), 'attention pattern')}: original, masked and reconstructed side by side.",
        caption="Left: an attention pattern. Middle: the same with the masked patches in grey. Right: what "
        "the autoencoder makes of the visible ones. The loss is the mean squared error over the masked "
        f"patches; {pattern_scaling(m)}. Paper figure 1.",
    )


def _importance(m: Material) -> Drawing:
    return Drawing(
        "importance",
        lambda: maps.importance(m.importance, m.top_heads, m.shape),
        alt="Heat maps of head importance by layer and head, one for each task.",
        caption="One cell a head: the largest difference between the mean SHAP values of its clusters, that "
        "is, how far knowing the head's pattern can move the predicted log-odds of a correct completion. One "
        f"colour scale for all tasks; the top {TOP_HEADS} heads "
        "of each task are ringed, grey heads have no value. Paper figures 5 and 6.",
        legible_pixels=760,
    )


def _mean_shap(m: Material) -> Drawing:
    return Drawing(
        "mean_shap",
        lambda: maps.mean_shap(m.importance, m.shape),
        alt="Heat maps of the mean SHAP value by layer and head, one for each task.",
        caption="One cell a head: blue where its patterns speak for a correct completion, averaged over the "
        "training prompts, red where they speak for an incorrect one. One colour scale for all tasks. Paper "
        "figures 8 to 17.",
        legible_pixels=760,
    )


def _intervention_overview(m: Material) -> Drawing:
    return Drawing(
        "intervention_overview",
        lambda: charts.intervention_overview(paper_variant(m.pooled_effects)),
        alt="Net change in accuracy over all tasks against the number of heads zeroed, by selection.",
        caption="Prompts that became correct minus prompts that became incorrect, in percent of the "
        "held-out prompts of all tasks. Heads are chosen by SHAP values of the training groups: positive "
        "(towards correct), negative (towards incorrect), neutral (nearest to zero), random (mean over the "
        "draws), greedy (one after the other, by what zeroing does to training prompts, at most so "
        "many). Lines are 95% intervals over prompts; above zero the "
        "model got better. Paper figure 7 (a).",
    )


def _intervention_tasks(m: Material) -> Drawing:
    return Drawing(
        "intervention_tasks",
        lambda: charts.intervention_tasks(paper_variant(m.effects)),
        alt="Net change in accuracy against the number of heads zeroed, one panel for each task.",
        caption="The same, task by task, on shared axes. Paper figures 7 (b, c) and 18 to 27.",
        legible_pixels=760,
    )


def _evaluation(table: pl.DataFrame) -> Drawing:
    unknown = (
        "" if table["held_out"].all() else " †: nothing says that the prompts are held out from its training."
    )
    return Drawing(
        "evaluation",
        lambda: cross_evaluation.figure(table),
        alt="Matrices of reconstruction errors: encoders down, target models across.",
        caption="Every encoder on masked patterns of every target, the same for all encoders: mean "
        "(standard deviation) over patterns of every head on held-out prompts; lower is better. Left: the "
        "encoder's own loss, to be compared between encoders of one scaling only. Middle and right: errors "
        "of log probability, and of probability summed per query, at the masked positions; they mean the "
        "same for every encoder, and uniform attention is what a prediction that knows nothing gets. "
        f"Bold: the target of the encoder's own study.{unknown} {'; '.join(cross_evaluation.counts(table))}. "
        "Paper table 2.",
        legible_pixels=760,
    )


def _intervention_variants(m: Material) -> Drawing:
    return Drawing(
        "intervention_variants",
        lambda: charts.intervention_variants(m.pooled_effects),
        alt="Net change over all tasks against the number of heads, one panel for each operation.",
        caption="Held-out prompts of all tasks, on shared axes: the same heads zeroed, replaced by their "
        "mean output over training prompts, or multiplied by a factor; and heads chosen by the importance of "
        "other models, where the study has them. Greedy: at most so many. Not in the paper.",
        legible_pixels=760,
    )


def _training(history: pl.DataFrame) -> Drawing:
    return Drawing(
        "training_loss",
        lambda: charts.training_loss(history),
        alt="Training and validation loss of the encoder against the optimiser step.",
        caption="The autoencoder's loss while it was trained; lower is better. The validation patterns come "
        "from held-out groups. Not in the paper as a figure; its final losses are table 2.",
    )
