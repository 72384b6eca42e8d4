"""LRPE against the original code, and what makes them relative."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers import positions
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close

# What the original code applies in the same function.
_ACTIVATIONS = {
  "relu": jax.nn.relu,
  "sigmoid": jax.nn.sigmoid,
  "silu": jax.nn.silu,
  "softmax": functools.partial(jax.nn.softmax, axis=-2),
}


@pytest.mark.parametrize("case", range(5))
def test_golden_md_lrpe(x64, golden, case):
  """Doraemonzzz/xopes: 1 to 3 axes, with activations and extra elements."""
  del x64
  data = golden("lightnet/md_lrpe")
  data = {
    key: data[f"c{case}_{key}"]
    for key in ("x", "theta", "shape", "num_extra", "act", "y", "cot", "dx")
  }

  @jax.jit
  def gradient(x):
    def loss(x):
      y = positions.md_lrpe(
        _ACTIVATIONS.get(str(data["act"]), lambda x: x)(x),
        tuple(data["shape"].tolist()),
        data["theta"],
        num_extra=int(data["num_extra"]),
      )
      return jnp.sum(y * data["cot"]), y

    return jax.value_and_grad(loss, has_aux=True)(x)

  (_, y), d_x = gradient(data["x"])
  close(y, data["y"], FORWARD)
  close(d_x, data["dx"], GRADIENT)


@pytest.mark.parametrize("shape", [(9,), (3, 4), (2, 3, 2)])
def test_md_lrpe_sees_only_differences(x64, shape):
  """Products of one query and one key at all pairs of positions."""
  del x64
  rng = np.random.default_rng(0)
  width = 7
  q, k = rng.normal(size=(2, width))
  count = int(np.prod(shape))
  turned_q, turned_k = (
    positions.md_lrpe(np.tile(z, (count, 1)), shape) for z in (q, k)
  )
  products = np.asarray(turned_q @ turned_k.T)
  theta = positions.md_frequencies(width, len(shape))
  places = list(itertools.product(*map(range, shape)))
  for i, n in enumerate(places):
    for j, m in enumerate(places):
      phase = np.concatenate([(a - b) * theta for a, b in zip(n, m)])[:width]
      want = np.sum(q * k * np.cos(phase))
      # float64 rounding.
      np.testing.assert_allclose(products[i, j], want, rtol=0, atol=1e-12)


def test_one_axis_is_the_one_dimensional_lrpe(x64):
  del x64
  x = np.random.default_rng(0).normal(size=(3, 9, 6))
  along = positions.lrpe_cosine(x, np.arange(9))
  # float64 rounding.
  np.testing.assert_allclose(
    positions.md_lrpe(x, (9,)), along, rtol=1e-13, atol=1e-13
  )


def test_rotary_turns_by_complex_numbers(x64):
  """Multiplies by exp(i n theta); products see only differences."""
  del x64
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 9, 6))
  theta = 100.0 ** (-np.arange(3) / 3)
  z = (x[..., :3] + 1j * x[..., 3:]) * np.exp(
    1j * np.arange(9)[:, None] * theta
  )
  got = positions.rotary(x, np.arange(9), base=100.0)
  # float64 rounding, here and below.
  np.testing.assert_allclose(
    got, np.concatenate([z.real, z.imag], -1), rtol=1e-12, atol=1e-13
  )
  q, k = rng.normal(size=(2, 6))
  q, k = (positions.rotary(np.tile(y, (9, 1)), np.arange(9)) for y in (q, k))
  products = np.asarray(q @ k.T)
  for shift in range(-8, 9):
    diagonal = np.diagonal(products, shift)
    np.testing.assert_allclose(diagonal, diagonal[0], rtol=0, atol=1e-12)


def test_a_stream_goes_on_where_it_was(x64):
  """Offsets, also of each batch entry its own."""
  del x64
  x = np.random.default_rng(0).normal(size=(2, 9, 6))
  for turn in map(jax.jit, (positions.rotary, positions.lrpe_cosine)):
    whole = turn(x, np.arange(9))
    np.testing.assert_array_equal(
      turn(x[:, 4:], 4 + np.arange(5)), whole[:, 4:]
    )
    pieces = turn(
      np.stack([x[0, 2:6], x[1, 5:9]]), np.array([[2], [5]]) + np.arange(4)
    )
    np.testing.assert_array_equal(
      pieces, np.stack([whole[0, 2:6], whole[1, 5:9]])
    )


def test_angles_of_distant_positions_keep_their_digits():
  """In float32, where 1e7 radians alone are off by half a radian."""
  theta = positions.frequencies(4, 4)
  places = np.array([0, 1, 255, 256, 99_999, 1_234_567, 2**24])
  exact = places[:, None] * theta
  for given in (places, places.astype("f")):
    got = np.asarray(positions.angles(given, theta, jnp.float32), np.float64)
    # Three angles of up to 255 radians each in float32.
    np.testing.assert_allclose(np.cos(got), np.cos(exact), rtol=0, atol=5e-5)
    np.testing.assert_allclose(np.sin(got), np.sin(exact), rtol=0, atol=5e-5)
  slope = jax.jacobian(lambda n: positions.angles(n, theta, jnp.float32))(777.0)
  np.testing.assert_allclose(slope, theta, rtol=1e-6)


def test_low_precision_is_turned_in_float32():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(999, 6)), jnp.bfloat16)
  for turn in map(jax.jit, (positions.rotary, positions.lrpe_cosine)):
    got = turn(x, jnp.arange(999))
    assert got.dtype == jnp.bfloat16
    want = turn(x.astype(jnp.float32), jnp.arange(999))
    # One rounding to 8 bits.
    np.testing.assert_allclose(got.astype("f4"), want, rtol=2**-8, atol=1e-30)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (
      lambda x: positions.rotary(x[..., :5], jnp.arange(6)),
      r"x: got shape \(2, 6, 5\), expected an even number of channels",
    ),
    (
      lambda x: positions.md_lrpe(x, (2, 2)),
      r"x: got .*6 elements.*, expected num_extra \+ prod\(shape\) = 4",
    ),
    (lambda x: positions.md_lrpe(x, ()), r"at least one positive size"),
    (
      lambda x: positions.md_lrpe(x, (2, 3), jnp.ones(2)),
      r"theta: got shape .*, expected at least 4 frequencies, 8 channels",
    ),
  ],
)
def test_bad_arguments_are_named(call, message):
  with pytest.raises(ValueError, match=message):
    call(jnp.ones((2, 6, 8)))


@pytest.mark.skipif(
  jax.__version_info__ < (0, 11), reason="jax 0.10 drops barriers on a CPU"
)
def test_sines_are_taken_once_and_not_for_every_row_and_head():
  """No loop over all rows and heads, as a fusion is one, holds a sine."""

  @jax.jit
  def turn(x):
    return positions.rotary(x, jnp.arange(64)[:, None])

  text = turn.lower(jnp.ones((8, 64, 4, 16))).compile().as_text()
  holding = [part for part in text.split("\n\n") if " cosine(" in part]
  assert holding
  for part in holding:
    assert "fused" not in part.split("(")[0] or "[8,64,4" not in part
