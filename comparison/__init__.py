"""Comparing losses on equal terms: the design, its runs, their statistics, figures and report."""
