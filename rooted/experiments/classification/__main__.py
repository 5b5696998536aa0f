"""The command: `python -m rooted.experiments.classification`."""

from rooted.experiments.classification.command import main

main()
