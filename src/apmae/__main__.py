"""`python -m apmae`: the command line, as `accelerate launch -m apmae` needs it."""

from apmae.cli import main

main()
