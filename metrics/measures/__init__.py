"""The formulas: from features, moments or patches to numbers."""
