"""Logistic regression (section 4.2 of the paper): `python -m rooted.experiments.regression`."""
