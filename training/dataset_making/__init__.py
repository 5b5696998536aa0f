"""What `dataset_tool.py` is made of: sources, labels, recipes, transforms, and the writing of data sets."""
