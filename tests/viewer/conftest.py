from pathlib import Path

import pytest
import torch

from apmae.prompts import Span
from apmae.viewer import Hole, HolePrompt, PromptView
from apmae.viewer.prompt_view import NextToken

HOSTILE = "</script><img src=x onerror=alert(1)>"
TOKENS = (HOSTILE, "\n    ", "if", " (", "$a$", "_{", "中", "", "\x1b[0m", "\t", " foo", "&amp;") * 2


@pytest.fixture
def made_up_view():
    """2 layers of 3 heads on 24 tokens that try to write markup; head 1.2 sees four tokens back only."""
    tokens = len(TOKENS)
    scores = 8 * torch.randn(2, 3, tokens, tokens, generator=torch.Generator().manual_seed(0))
    allowed = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    scores.masked_fill_(~allowed, -torch.inf)
    scores[1, 2].masked_fill_(~allowed.triu(-3), -torch.inf)
    source = f"a\n  {HOSTILE}\n"
    hole = Hole(Path("a") / f"{HOSTILE[2:8]}.java", 2, 3, source, Span("line", 4, len(source) - 1))
    prompt = HolePrompt(hole, "causal", tuple(range(tokens)), (7, 8), TOKENS)
    candidates = tuple(NextToken(index, text, 0.5**index) for index, text in enumerate(TOKENS[:5], start=1))
    return PromptView(
        f"{HOSTILE}/model",
        f"{HOSTILE}, 4-bit Q4_1",
        prompt,
        NextToken(7, " " + HOSTILE, 0.01),
        candidates,
        f"{HOSTILE}\n",
        False,
        1.5,
        scores.log_softmax(-1),
    )
