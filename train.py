"""Train a network: `rooted-stylegan train` in a checkout; see rooted_stylegan."""

from rooted_stylegan.train import main

if __name__ == "__main__":
    main()
