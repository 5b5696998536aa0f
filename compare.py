"""Compare losses on equal terms: `rooted-stylegan compare` in a checkout; see rooted_stylegan."""

from rooted_stylegan.compare import main

if __name__ == "__main__":
    main()
