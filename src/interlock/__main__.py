"""`python -m interlock` is the `interlock` command."""

from .cli import main

main()
