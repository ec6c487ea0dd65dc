"""What is asked of the target model: holes in source code, and prompts made from them."""

from apmae.prompts.documents import Document, Prompt, Skip, hole_token, tokens_of_hole
from apmae.prompts.formats import PromptFormatter, choose_format
from apmae.prompts.holes import FileHoles, prompts_of
from apmae.prompts.spans import Function, Span, find_comments, find_functions, find_spans, span_tasks

__all__ = [
    "Document",
    "FileHoles",
    "Function",
    "Prompt",
    "PromptFormatter",
    "Skip",
    "Span",
    "choose_format",
    "find_comments",
    "find_functions",
    "find_spans",
    "hole_token",
    "prompts_of",
    "span_tasks",
    "tokens_of_hole",
]
