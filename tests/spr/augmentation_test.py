"""Tests of the augmentation, against golden values of SPR's own code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.spr import augmentation
from tests.spr import reference

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def test_shift_and_intensity_equal_the_reference(x64, golden):
  arrays = golden("spr/augment_B4")
  config = augmentation.Config(intensity=float(arrays["intensity_scale"]))
  image = jnp.asarray(reference.images(arrays["image_u8"]))
  row, column = arrays["offset_y"], arrays["offset_x"]
  shifted = augmentation.shift(config, image, row, column)
  assert shifted.dtype == jnp.uint8
  np.testing.assert_array_equal(
    np.moveaxis(shifted, -1, 1)[:, [0, 3]], arrays["shifted_u8"]
  )
  scaled = np.moveaxis(np.asarray(shifted, np.float64) / 255, -1, 1)
  np.testing.assert_allclose(
    scaled[:, :, ::7].sum(axis=-1), arrays["shifted_checksum_rows"], **TOLERANCE
  )
  normal = jnp.asarray(arrays["intensity_normal"])
  draws = augmentation.Draws(row, column, normal)
  final = np.moveaxis(augmentation.apply(config, image, draws), -1, 1)
  np.testing.assert_allclose(
    final.mean(axis=(2, 3)), arrays["final_mean"], **TOLERANCE
  )
  np.testing.assert_allclose(
    final[:, :, 40], arrays["final_row40"], **TOLERANCE
  )


def test_a_shift_repeats_the_edge():
  config = augmentation.Config(pad=2)
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (2, 3, 5, 6, 4), np.uint8)
  row, column = (rng.integers(0, 5, (2, 3)) for _ in range(2))
  row[0, 0], column[0, 0] = 0, 4
  got = augmentation.shift(config, image, row, column)
  rows = np.clip(np.arange(5) + row[..., None] - 2, 0, 4)
  columns = np.clip(np.arange(6) + column[..., None] - 2, 0, 5)
  for i in range(2):
    for j in range(3):
      want = image[i, j][rows[i, j]][:, columns[i, j]]
      np.testing.assert_array_equal(got[i, j], want)


def test_draws_cover_their_range_and_differ_between_stacks():
  for exclusive, offsets in ((False, 9), (True, 8)):
    config = augmentation.Config(exclusive=exclusive)
    draws = augmentation.draw(jax.random.key(0), config, (6, 300))
    for draw in (draws.row, draws.column):
      counts = np.bincount(np.ravel(draw), minlength=9)
      assert len(counts) == 9
      mean = 1800 / offsets
      # Within five standard deviations of a uniform draw.
      assert abs(counts[:offsets] - mean).max() < 5 * np.sqrt(mean)
      assert counts[offsets:].sum() == 0
    assert len(np.unique(draws.normal)) > 1700
    assert not np.array_equal(draws.row, draws.column)


def test_the_intensity_is_clipped():
  config = augmentation.Config()
  draws = augmentation.Draws(
    jnp.full(2, 4), jnp.full(2, 4), jnp.array([-7.0, 7.0])
  )
  image = jnp.full((2, 6, 6, 1), 0.5)
  got = augmentation.apply(config, image, draws)
  np.testing.assert_allclose(got[0], 0.45, rtol=1e-6)
  np.testing.assert_allclose(got[1], 0.55, rtol=1e-6)


def test_bad_input_is_refused():
  with pytest.raises(ValueError, match="pad: got .*, expected an integer"):
    augmentation.Config(pad=0)
  with pytest.raises(ValueError, match="intensity: got .*, expected a finite"):
    augmentation.Config(intensity=-0.1)
  config = augmentation.Config()
  draws = augmentation.draw(jax.random.key(0), config, (3,))
  with pytest.raises(ValueError, match="draws: got shape .* the batch shape"):
    augmentation.apply(config, jnp.zeros((2, 6, 6, 4)), draws)
