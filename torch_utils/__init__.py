"""What any PyTorch project could use: operators, distributed set-up, statistics, images."""
