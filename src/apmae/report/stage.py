"""The stage `report`: figures and the page, from a study's artifacts."""

from __future__ import annotations

from datetime import UTC, datetime

import torch

from apmae.autoencoder import APMAEModel
from apmae.autoencoder.reconstruction import Reconstruction, reconstruct
from apmae.clustering import PatternSource
from apmae.common.progress import Progress
from apmae.common.seeding import numpy_generator, torch_generator
from apmae.encoding.encoders import load_encoder, pattern_source
from apmae.pipeline import Context
from apmae.report.data import ReportData
from apmae.report.page import draw_figures, render
from apmae.report.sections import SECTIONS
from apmae.study import Study
from apmae.study.artifacts import REPORT, token_ids
from apmae.target_model import Target


def run(context: Context) -> dict[str, object]:
    """Write `report/`. Returns counts for the stage's marker.

    Raises:
        ApmaeError: an artifact is missing.
    """
    study, target = context.study, context.target
    reconstructed = reconstructions(study, target, load_encoder(study, target.device))
    patterns_of = pattern_source(study, target)
    return write_report(study, reconstructed, context.key, context.progress, patterns_of)


def write_report(
    study: Study,
    reconstructed: list[Reconstruction],
    key: str,
    progress: Progress,
    patterns_of: PatternSource | None = None,
) -> dict[str, object]:
    """Write `report/index.html` and `report/figures/*.svg`, `*.png`.

    Args:
        reconstructed: patterns of the reconstruction figure; without them the figure is left out.
        key: identifies the inputs of the report; the page shows it.
        patterns_of: makes patterns anew for the figure of a cluster's members; without it the figure is left
            out.

    Returns:
        `figures`, `sections` and `reconstructions`: their numbers in the report.
    """
    data = ReportData(study, reconstructed, key, patterns_of)
    sections = [made for section in SECTIONS if (made := section(data)) is not None]
    with study.writing(REPORT) as directory:
        folder = directory / "figures"
        folder.mkdir(parents=True)
        pictures = draw_figures(sections, folder, progress)
        page = render(data, sections, pictures, datetime.now(UTC))
        (directory / "index.html").write_text(page, encoding="utf-8")
    return {
        "figures": len(pictures),
        "sections": len(sections),
        "reconstructions": len(reconstructed),
    }


def reconstructions(study: Study, target: Target, encoder: APMAEModel) -> list[Reconstruction]:
    """Reconstruct patterns of seeded heads on seeded held-out prompts, or on any prompts if none is held out.

    Seeded noise masks the encoder's `mask_ratio` of the patches, as in training.
    """
    count = study.config.report.reconstructions
    generator = numpy_generator(study.config.seed, "reconstructions")
    prompts = study.analysed_prompts
    held_out = prompts.filter(split=study.config.measured_split)
    prompts = prompts if held_out.is_empty() else held_out
    rows = generator.choice(prompts.height, min(count, prompts.height), replace=False)
    chosen = generator.choice(len(target.heads), len(rows), replace=False)
    noise_generator = torch_generator(study.config.seed, "reconstructions", "noise")
    found = []
    for row, index in zip(rows.tolist(), chosen.tolist(), strict=True):
        layer, head = target.heads[index]
        pattern = target.run(token_ids(prompts[row]), [(layer, head)], encoder.config.scaling).patterns[:, 0]
        noise = torch.rand(1, encoder.config.causal_patches, generator=noise_generator)
        loss, images = reconstruct(encoder, encoder.tokenize(pattern), noise.to(pattern.device))
        found.append(Reconstruction(layer, head, prompts["prompt_id"][row], loss, *images[0]))
    return found
