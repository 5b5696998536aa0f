"""Image classification (section 4.3 of the paper): `python -m rooted.experiments.classification`."""
