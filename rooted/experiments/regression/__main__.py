"""The command: `python -m rooted.experiments.regression`."""

from rooted.experiments.regression.command import main

main()
