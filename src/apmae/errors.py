"""The one exception that means: the user can fix this."""

from __future__ import annotations


class ApmaeError(ValueError):
    """Something a user caused and can fix.

    The message is one line: what was wrong, and what to do. The command line prints it without a
    traceback and ends with exit code 2; everything computed before it stays on disk.
    """
