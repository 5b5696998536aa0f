"""What the runs say: curves, statistics, and the sentences about them."""
