"""Defaults and choices of `dataset_tool.py` that its options and its work share. Imports no torch."""

MARGIN = 0.1  # around a box, in its sides
FACES = ("largest", "all")  # of a picture
