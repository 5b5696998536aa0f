"""The order of training images: fresh permutations, from the image number alone."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlib import UserError
from training.dataset.sampler import image_index


@settings(max_examples=30)
@given(size=st.integers(1, 200), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 10**7))
def test_every_epoch_shows_every_image_once(size, seed, epoch):
    indices = image_index(np.arange(epoch * size, (epoch + 1) * size), size, seed)
    assert sorted(indices) == list(range(size))


def test_epochs_and_seeds_are_in_different_orders():
    orders = {tuple(image_index(np.arange(e * 50, e * 50 + 50), 50, seed)) for e in range(20) for seed in range(20)}
    assert len(orders) == 400


def test_orders_are_uniform_over_permutations():
    numbers = np.arange(3 * 6000)
    orders, counts = np.unique(image_index(numbers, 3, 0).reshape(-1, 3), axis=0, return_counts=True)
    assert len(orders) == 6
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)


def test_scalars_arrays_and_shapes_agree():
    numbers = np.arange(90, 120)
    indices = image_index(numbers, 37, 5)
    assert indices.dtype == np.int64
    assert [image_index(int(n), 37, 5) for n in numbers] == indices.tolist()
    assert isinstance(image_index(7, 37, 5), int)
    assert (image_index(numbers.reshape(5, 6), 37, 5) == indices.reshape(5, 6)).all()
    assert image_index(np.array([], dtype=np.int64), 37, 5).shape == (0,)


def test_another_process_gets_the_same_order():
    call = "image_index(np.arange(200, 260), 41, 9).tolist()"
    code = f"import numpy as np; from training.dataset.sampler import image_index; print({call})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert eval(result.stdout) == image_index(np.arange(200, 260), 41, 9).tolist()


def test_the_order_is_the_documented_one():
    expected = np.random.RandomState([3, 2, 0]).permutation(10)
    assert image_index(np.arange(20, 30), 10, 3).tolist() == expected.tolist()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_range(seed):
    with pytest.raises(UserError, match="`seed`"):
        image_index(0, 10, seed)
