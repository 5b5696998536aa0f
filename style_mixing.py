"""Style mixing under the flags of StyleGAN2-ADA's script: `rooted-stylegan mix` in a checkout; see rooted_stylegan."""

from rooted_stylegan.style_mixing import main

if __name__ == "__main__":
    main()
