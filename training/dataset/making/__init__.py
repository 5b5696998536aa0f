"""What dataset_tool.py calls: sources, recipes, transforms, and the writing of a data set."""
