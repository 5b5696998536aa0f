"""The runs of a comparison: what is planned, where each lies, how they are started and read."""
