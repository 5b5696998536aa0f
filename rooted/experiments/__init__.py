"""The paper's sections 4.2, 4.3 and 4.5 (arXiv 2310.03890): regression, spirals, classification.

Each is a command, `python -m rooted.experiments.NAME --help`, and needs the extra `experiments`.
"""
