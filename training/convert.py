"""`python -m training.convert SOURCE DESTINATION`, and its functions: see `training.snapshot.convert`."""

from training.snapshot.convert import load_rosinality, main, save_rosinality

__all__ = ["load_rosinality", "main", "save_rosinality"]

if __name__ == "__main__":
    main()
