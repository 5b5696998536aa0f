"""Measure generated images: `rooted-stylegan metrics` in a checkout; see rooted_stylegan."""

from rooted_stylegan.calc_metrics import main

if __name__ == "__main__":
    main()
