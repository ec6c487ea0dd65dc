"""The command line: parses, calls, prints. Heavy modules are imported inside the commands."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apmae.common.command import one_line_errors
from apmae.stages import STAGE_NAMES, STAGES, Stage, StageName
from apmae.vocabulary import PromptFormat, Scaling, TargetPrecision

if TYPE_CHECKING:
    from rich.console import Console

    from apmae.study import Study

app = typer.Typer(
    help="Find out which attention heads of a language model matter for a task.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Let Python code that the target brings run."),
]
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study's file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a config value; may be repeated."),
]


def main() -> None:
    """Run the command line; what a user can fix ends in one line and exit code 2."""
    with one_line_errors():
        app()


@app.command()
def run(
    study: StudyFile,
    overrides: Overrides = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all that is there, and make anew what is damaged.")
    ] = False,
) -> None:
    """Run every stage that is not done, and print a summary table."""
    finished = _run(study, overrides, None, verify)
    _print_summary(finished)


def _add_stage(stage: Stage) -> None:
    def command(study: StudyFile, overrides: Overrides = None) -> None:
        _run(study, overrides, stage.name)

    app.command(stage.name, help=stage.about)(command)


for _stage in STAGES:
    _add_stage(_stage)


@app.command()
def evaluate(
    encoder: Annotated[
        list[str],
        typer.Option(metavar="RUN", help="A study's or encoder's directory, or a hub id; may be repeated."),
    ],
    target: Annotated[
        list[str],
        typer.Option(metavar="MODEL", help="As target.model, or a study's directory; may be repeated."),
    ],
    study: Annotated[
        Path | None,
        typer.Option(
            metavar="STUDY.yaml",
            help="Study whose config mines prompts for targets without a RUN (default: the first RUN's).",
        ),
    ] = None,
    prompts: Annotated[int, typer.Option(min=1, help="At most this many held-out prompts per target.")] = 64,
    mask_ratio: Annotated[
        float | None, typer.Option(help="Fraction of the patches to mask; the encoders' own by default.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Directory of the results.")] = Path("runs/evaluation"),
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Reconstruct every target's patterns with every encoder (paper table 2).

    A report shows the evaluation that lies in its study's directory: --output runs/NAME/evaluation.
    """
    _quiet_libraries()
    from apmae import cross_evaluation
    from apmae.common.progress import console
    from apmae.report.cross_evaluation import markdown
    from apmae.study.study_file import load_config

    table = cross_evaluation.evaluate(
        encoder,
        target,
        output.expanduser(),
        base=None if study is None else load_config(study),
        prompts=prompts,
        mask_ratio=mask_ratio,
        trust_remote_code=trust_remote_code,
        progress=console,
        announce=lambda line: typer.echo(line, err=True),
    )
    typer.echo(markdown(table), nl=False)


@app.command()
def status(study: StudyFile, overrides: Overrides = None) -> None:
    """Show which stages are done."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from apmae.pipeline import Inputs, stage_keys, state
    from apmae.study import Study
    from apmae.study.study_file import load_config

    there = Study.of(load_config(study, overrides))
    keys = stage_keys(there, Inputs(there.config))
    title = escape(f"{there.config.name} in {there.directory}")
    table = Table("stage", "state", "seconds", "peak MiB", title=title)
    for name in STAGE_NAMES:
        marker = there.marker(name) or {}
        table.add_row(
            name,
            state(there, name, keys),
            str(marker.get("seconds", "")),
            str(marker.get("peak_memory_mib", "")),
        )
    Console().print(table)
    typer.echo(
        f"precision: target {there.config.target.dtype}, training {there.config.training.precision}, "
        f"encoding {there.config.encoding.precision}"
    )


@app.command()
def verify(directory: Annotated[Path, typer.Argument(metavar="RUN", help="A study's directory.")]) -> None:
    """Read every file of a study, and compare it with the checksum of when it was written."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from apmae.common.errors import ApmaeError
    from apmae.study import Study
    from apmae.study.directory import MADE_ANEW

    study = Study.open(directory)
    table = Table("stage", "files", "MiB", "state", title=escape(f"{study.config.name} in {directory}"))
    wrong: list[str] = []
    for name in STAGE_NAMES:
        marker = study.marker(name)
        if marker is None:
            table.add_row(name, "", "", "not done")
            continue
        if "files" not in marker:
            table.add_row(name, "", "", "of a version without checksums")
            continue
        found = study.damaged(name, contents=True)
        size = sum(size for size, _ in marker["files"].values()) / 2**20
        table.add_row(name, f"{len(marker['files']):,}", f"{size:,.1f}", "damaged" if found else "intact")
        wrong += found
    Console().print(table)
    for line in wrong:
        typer.echo(line)
    if wrong:
        raise ApmaeError(f"{len(wrong)} files are not as they were written: {MADE_ANEW}")


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="Hub id, directory, .gguf file or alias.")],
    place: Annotated[
        str,
        typer.Argument(
            metavar="FILE:LINE[:COLUMN]", help="Where the hole starts, from 1; it ends with its line."
        ),
    ],
    length_tokens: Annotated[int, typer.Option(min=16, help="Tokens of the prompt.")] = 64,
    prompt_format: Annotated[
        PromptFormat, typer.Option("--format", help="As prompts.format in a study.")
    ] = "auto",
    heads: Annotated[
        str | None,
        typer.Option(
            metavar="L5H6,...",
            help="Heads to draw with their tokens; by default four whose last token attends unusually.",
        ),
    ] = None,
    scaling: Annotated[
        Scaling,
        typer.Option(help="As encoder.scaling in a study."),
    ] = "absolute",
    dtype: Annotated[
        TargetPrecision,
        typer.Option(help="Precision of the weights; auto: bfloat16 where it is native, else float32."),
    ] = "auto",
    device: Annotated[str, typer.Option(help="Torch device, auto or balanced.")] = "auto",
    trust_remote_code: TrustRemoteCode = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the page goes; show/<file>-<line> by default."),
    ] = None,
) -> None:
    """Write a page about one prompt: the predicted token, and every head's attention pattern."""
    _quiet_libraries()
    from rich.console import Console

    from apmae import viewer
    from apmae.figures.wording import heads_named
    from apmae.target_model import Target

    wanted = None if heads is None else heads_named(heads)
    hole = viewer.read_hole(place)
    target = Target.load(model, dtype, device, trust_remote_code)
    prompt = viewer.hole_prompt(hole, target.tokenizer, prompt_format, length_tokens)
    seen = viewer.view_prompt(target, prompt)
    Console().print(viewer.summary(seen))
    directory = output.expanduser() if output else Path("show") / f"{hole.path.stem}-{hole.line}"
    chosen = viewer.standout_heads(seen.log_probs, 4) if wanted is None else wanted
    page = viewer.write_page(seen, chosen, scaling, directory)
    typer.echo(f"page: {page}")


@app.command()
def score(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Source files of its language.")],
    study: Annotated[Path, typer.Option(metavar="RUN", help="A study's directory.")],
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", help="Score holes of this task of the study alone; may be repeated."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="At most this many holes per task and file, spread over the file.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    sarif: Annotated[bool, typer.Option("--sarif", help="Print SARIF; every token.")] = False,
    pages: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page for each file there; every token.")
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Score source files: how likely the target is correct, and which heads say so.

    Every token, where the study has a predictor of tokens and no task is named; else the holes of its tasks.
    """
    _quiet_libraries()
    from apmae import scoring
    from apmae.common.errors import ApmaeError
    from apmae.common.progress import console
    from apmae.study import Study
    from apmae.study.artifacts import TOKEN_PREDICTOR

    pages = pages and pages.expanduser()
    if sarif or pages or (not tasks and Study.open(study).path(TOKEN_PREDICTOR).exists()):
        if pages and len({path.name for path in files}) < len(files):
            raise ApmaeError("--pages: two of the files have the same name: score them one by one")
        by_token = scoring.TokenScorer.load(study, trust_remote_code)
        texts = scoring.score_texts(by_token, files, progress=console)
        if as_json or sarif:
            typer.echo(scoring.as_sarif(texts) if sarif else scoring.tokens_as_json(by_token, texts))
            return
        for path, text in texts:
            if pages:
                typer.echo(scoring.write_token_page(by_token, path, text, pages / f"{path.name}.html"))
            else:
                _console().print(scoring.terminal_text(path, text))
        return
    scorer = scoring.Scorer.load(study, trust_remote_code)
    scored = scoring.score_files(scorer, files, tasks, limit, progress=console)
    if as_json:
        typer.echo(scoring.as_json(scorer, scored))
        return
    for path, holes in scored:
        _console().print(scoring.table(path, holes))


@app.command()
def fetch_jdk() -> None:
    """Find a JDK's source files; where there are none, fetch Debian's or Ubuntu's, without root."""
    from apmae.corpus import find_or_fetch_jdk_sources

    typer.echo(find_or_fetch_jdk_sources())


@app.command()
def export_model(
    source: Annotated[
        Path,
        typer.Argument(metavar="STUDY_OR_INTERVENTION", help="A study's directory, or an intervention's."),
    ],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="A new directory for the model.")],
    task: Annotated[
        str | None, typer.Option(help="The study's task whose best intervention to take.")
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Write the target with an intervention in its weights; it loads in plain Transformers."""
    from apmae.intervention import export_model

    _quiet_libraries()
    made = export_model(source, output.expanduser(), task, trust_remote_code)
    typer.echo(f"{output}: {made.operation.name}, {len(made.heads)} heads")


def _run(path: Path, overrides: list[str] | None, only: StageName | None, verify: bool = False) -> Study:
    from apmae.common.progress import console, duration, reporting
    from apmae.study.study_file import load_config

    config = load_config(path, overrides)
    typer.echo(f"{config.name}: in {config.study_directory}")
    began, stage = time.monotonic(), config.name

    def announce(line: str) -> None:
        nonlocal began, stage
        began, stage = time.monotonic(), line.partition(":")[0]
        typer.echo(line)

    with reporting(lambda: f"{stage}: working, {duration(time.monotonic() - began)} so far"):
        _quiet_libraries()
        from apmae import pipeline

        return pipeline.run(config, only=only, verify=verify, progress=console, announce=announce)


def _quiet_libraries() -> None:
    """Keep other libraries' progress bars and notes out of ours."""
    os.environ["TQDM_DISABLE"] = "1"  # tqdm reads it when it is imported, so this comes first
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _print_summary(study: Study) -> None:
    from apmae.report import summary
    from apmae.study.artifacts import REPORT_INDEX

    _console().print(summary(study))
    typer.echo(f"report: {study.path(REPORT_INDEX)}")


def _console() -> Console:
    from rich.console import Console

    # A log has no width of its own; tables need this much.
    return Console(width=None if sys.stdout.isatty() else 140)
