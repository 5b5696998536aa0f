"""Find latents that show given pictures: `rooted-stylegan project` in a checkout; see rooted_stylegan."""

from rooted_stylegan.projector import main

if __name__ == "__main__":
    main()
