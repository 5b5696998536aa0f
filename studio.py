"""Play with a network in the browser: `rooted-stylegan studio` from a checkout; see `rooted_stylegan/studio.py`."""

from rooted_stylegan.studio import main

if __name__ == "__main__":
    main()
