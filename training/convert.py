"""`python -m training.convert SOURCE DESTINATION`: see `training.snapshot.convert`."""

from training.snapshot.convert import main

if __name__ == "__main__":
    main()
