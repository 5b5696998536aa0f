"""Make a data set for training: `rooted-stylegan dataset` in a checkout; see rooted_stylegan."""

from rooted_stylegan.dataset_tool import main

if __name__ == "__main__":
    main()
