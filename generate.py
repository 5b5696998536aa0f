"""Draw pictures, grids, style mixing and videos: `rooted-stylegan generate` in a checkout; see rooted_stylegan."""

from rooted_stylegan.generate import main

if __name__ == "__main__":
    main()
