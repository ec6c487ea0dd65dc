"""Will this completion be correct? A study's predictors on prompts that the study never saw.

1. `Scorer`: one forward pass of the target gives the next token, the features of the study's
   predictors, and so a calibrated probability with the heads that moved it most.
2. `score_files`: the holes of source files, as the study would mine them, scored.
3. `table` for the terminal, `as_json` for programs.
"""

from apmae.scoring.files import FileHole, HoleScore, score_files
from apmae.scoring.output import as_json, table
from apmae.scoring.scorer import HeadContribution, Score, Scorer

__all__ = [
    "FileHole",
    "HeadContribution",
    "HoleScore",
    "Score",
    "Scorer",
    "as_json",
    "score_files",
    "table",
]
