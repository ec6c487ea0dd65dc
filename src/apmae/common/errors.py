"""What a user should know: an error that can be fixed, a warning about a choice."""

from __future__ import annotations


class ApmaeError(ValueError):
    """Something a user caused and can fix.

    The message is one line: what was wrong, and what to do. The command line prints it without a
    traceback and ends with exit code 2; everything computed before it stays on disk.
    """


class ApmaeWarning(UserWarning):
    """Something that works and that a user would want to know; one line, said once."""
