"""Will this completion be correct? A study's predictors on prompts that the study never saw.

1. `Scorer`: one forward pass of the target gives the next token, the features of the study's
   predictors, and so a calibrated probability with the heads that moved it most.
2. `score_files`: the holes of source files, as the study would mine them, scored.
3. `table` for the terminal, `as_json` for programs.
4. `TokenScorer` and `score_texts`: every token of a file, by the study's predictor of tokens; in the
   terminal, as JSON, as SARIF, or as a page.
5. `watch`: every token while the target generates it.
"""

from apmae.scoring.files import FileHole, HoleScore, score_files, score_texts
from apmae.scoring.live import watch
from apmae.scoring.output import as_json, table
from apmae.scoring.scorer import HeadContribution, Score, Scorer
from apmae.scoring.token_output import as_sarif, terminal_text, tokens_as_json
from apmae.scoring.token_page import write_token_page
from apmae.scoring.tokens import ScoredText, TokenScore, TokenScorer

__all__ = [
    "FileHole",
    "HeadContribution",
    "HoleScore",
    "Score",
    "ScoredText",
    "Scorer",
    "TokenScore",
    "TokenScorer",
    "as_json",
    "as_sarif",
    "score_files",
    "score_texts",
    "table",
    "terminal_text",
    "tokens_as_json",
    "watch",
    "write_token_page",
]
