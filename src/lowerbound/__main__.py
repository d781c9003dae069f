"""``python -m lowerbound``."""

from lowerbound.cli import main

main(prog_name="lowerbound")
