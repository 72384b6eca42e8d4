"""MNIST-1D against values of the published package."""

import numpy as np
import pytest

from jaxseq import data
from tests.data import hashing


@pytest.fixture(scope="module")
def published():
  return data.load("mnist1d")


def test_the_published_set(published):
  assert published.train.inputs.shape == (4000, 40, 1)
  assert published.test.inputs.shape == (1000, 40, 1)
  # Made by mnist1d 0.0.2.post1 with numpy 2.3; float32 keeps seven digits.
  np.testing.assert_allclose(
    published.train.inputs[0, :4, 0],
    [-0.33200567, -0.47191037, -0.77869708, -1.00974083],
    rtol=1e-6,
  )
  first = [2, 6, 4, 5, 6, 6, 6, 0, 3, 1]
  assert published.train.targets[:10].tolist() == first
  whole = np.concatenate([published.train.inputs, published.test.inputs])
  # Of 200000 float32 values: their rounding is far below.
  assert abs(whole.mean()) < 1e-5
  assert abs(whole.std() - 1) < 1e-5
  labels = [*published.train.targets, *published.test.targets]
  assert np.bincount(labels).tolist() == [500] * 10


def test_no_test_example_is_in_training(published):
  train, test = published.train.inputs, published.test.inputs
  assert hashing.shared_rows(train, test) == 0


def test_seeds_and_shuffled_time():
  def load(**options):
    return data.load("mnist1d", train=30, test=10, **options).train.inputs

  np.testing.assert_array_equal(load(), load(seed=42))
  assert not np.array_equal(load(), load(seed=1))
  mixed = load(shuffle_time=True)
  assert not np.array_equal(load(), mixed)
  np.testing.assert_allclose(
    np.sort(load(), axis=1), np.sort(mixed, axis=1), rtol=1e-6
  )


def test_sizes_must_divide_into_classes():
  with pytest.raises(
    ValueError,
    match="train and test: got 30 and 5, expected .* a multiple of 10",
  ):
    data.load("mnist1d", train=30, test=5)
