"""TPE and LRPE against the original code, and what makes them relative."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers import positions
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close


def tpe_params(data, prefix):
  """The original's parameters, or their gradients, in our layout."""
  return {
    "q": data[f"{prefix}.q"],
    "k": data[f"{prefix}.k"],
    "log_decay": data[f"{prefix}.log_decay"],
    "norm": data[f"{prefix}.norm.weight"],
    "W_o": data[f"{prefix}.o_proj.weight"].T,
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
        x,
        tuple(data["shape"].tolist()),
        data["theta"],
        num_extra=int(data["num_extra"]),
        activation=str(data["act"]),
      )
      return jnp.sum(y * data["cot"]), y

    return jax.value_and_grad(loss, has_aux=True)(x)

  (_, y), d_x = gradient(data["x"])
  close(y, data["y"], FORWARD)
  close(d_x, data["dx"], GRADIENT)


@pytest.mark.parametrize(
  "case",
  [
    1,
    pytest.param(0, marks=pytest.mark.slow),
    pytest.param(2, marks=pytest.mark.slow),
  ],
)
def test_golden_md_tpe(x64, golden, case):
  """Doraemonzzz/xmixers: along 1, 2 and 3 axes, all gradients."""
  del x64
  data = golden("lightnet/md_tpe")
  axes = tuple(data[f"c{case}_dims"].tolist())

  def params(kind):
    return [
      tpe_params(data, f"c{case}_{kind}.tpes.{j}") for j in range(len(axes))
    ]

  @jax.jit
  def gradient(params, x):
    def loss(params, x):
      y = positions.md_tpe(params, x, axes)
      return jnp.sum(y * data[f"c{case}_cot"]), y

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

  (_, y), (grads, d_x) = gradient(params("p"), data[f"c{case}_x"])
  close(y, data[f"c{case}_y"], FORWARD)
  close(d_x, data[f"c{case}_dx"], GRADIENT)
  expected = params("g")
  chex.assert_trees_all_equal_structs(grads, expected)
  jax.tree.map(lambda a, b: close(a, b, GRADIENT), grads, expected)


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
  # The second half of the channels does not turn.
  half = positions.lrpe_cosine(x, np.arange(9), half=True)
  np.testing.assert_allclose(half[..., 3:6], x[..., 3:])
  assert not np.any(half[..., 9:])
  np.testing.assert_allclose(half[..., :3], along[..., :3])


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


def test_tpe_pieces_steps_and_resets(x64):
  """The sum is carried on; a reset puts it back to zeros."""
  del x64
  params = positions.init_tpe(jax.random.key(0), 6, heads=2)
  rng = np.random.default_rng(0)
  params = {
    name: value + 0.1 * rng.normal(size=value.shape)
    for name, value in params.items()
  }
  x = rng.normal(size=(2, 9, 6))
  reset = np.zeros((2, 9), bool)
  reset[0, 3] = reset[1, 7] = True
  tpe = jax.jit(positions.tpe)
  y, final = tpe(params, x, None, reset)
  first, state = tpe(params, x[:, :5], None, reset[:, :5])
  second, state = tpe(params, x[:, 5:], state, reset[:, 5:])
  # float64 rounding, here and below.
  options = {"rtol": 1e-11, "atol": 1e-12}
  chex.assert_trees_all_close(
    (np.concatenate([first, second], 1), state), (y, final), **options
  )
  alone, end = tpe(params, x[:1, 3:])
  np.testing.assert_allclose(y[:1, 3:], alone, **options)
  np.testing.assert_allclose(final[:1], end, **options)
  step = jax.jit(positions.tpe_step)
  state = jnp.zeros((2, 6))
  for t in range(9):
    y_t, state = step(params, x[:, t], state, reset[:, t])
    np.testing.assert_allclose(y_t, y[:, t], **options)
  np.testing.assert_allclose(state, final, **options)


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
      lambda x: positions.md_lrpe(x, (6,), activation="tanh"),
      "activation: got 'tanh', expected one of",
    ),
    (
      lambda x: positions.md_lrpe(x, (2, 3), jnp.ones(2)),
      r"theta: got shape .*, expected at least 4 frequencies, 8 channels",
    ),
    (
      lambda x: positions.init_tpe(jax.random.key(0), 8, heads=3),
      "heads: got 3, expected a divisor of d_model = 8",
    ),
    (
      lambda x: positions.md_tpe([], x, (-2,)),
      r"params: got \[\], expected one entry for each of the axes \(-2,\)",
    ),
    (
      lambda x: positions.md_tpe(
        [positions.init_tpe(jax.random.key(0), 8)], x, (-1,)
      ),
      "axes: got .*, expected axes but for the last",
    ),
    (
      lambda x: positions.tpe(positions.init_tpe(jax.random.key(0), 4), x),
      r"x: got shape \(2, 6, 8\), expected \(\*batch, 4\)",
    ),
  ],
)
def test_bad_arguments_are_named(call, message):
  with pytest.raises(ValueError, match=message):
    call(jnp.ones((2, 6, 8)))


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
