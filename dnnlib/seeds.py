"""The range of seeds, the same for every generator."""

from dnnlib.errors import UserError

LARGEST_SEED = 2**32 - 1  # what NumPy's RandomState takes


def check_seed(seed: int, argument: str = "seed") -> None:
    """Refuse what is no seed.

    Raises:
        UserError: below 0 or beyond 2^32 - 1; it names `argument`.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"`{argument}`={seed} is out of range; give a number from 0 to {LARGEST_SEED}")
