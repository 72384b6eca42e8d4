"""Models of intensities in pieces, by steps, with resets, and their bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.tasks.events.rate_models import attnhp
from jaxseq.tasks.events.rate_models import decays
from jaxseq.tasks.events.rate_models import nhp
from jaxseq.tasks.events.rate_models import s2p2

MODELS = {
  "nhp": (nhp, nhp.Config(2, 4)),
  "attnhp": (attnhp, attnhp.Config(2, 4, d_time=4, heads=2, memory=5)),
  "attnhp_norm": (
    attnhp,
    attnhp.Config(2, 4, d_time=4, heads=2, layer_norm=True, num_layers=1),
  ),
  "s2p2": (s2p2, s2p2.Config(2, 4, num_states=4)),
  "s2p2_impulse": (s2p2, s2p2.Config(2, 4, num_states=4, form="impulse")),
  "s2p2_forward": (
    s2p2,
    s2p2.Config(2, 4, num_states=4, form="forward", activation="half_glu"),
  ),
}


def _random(config, module):
  """Parameters far from the first ones, start states and norms too."""
  params = module.init(jax.random.key(0), config)
  leaves, structure = jax.tree.flatten(params)
  rng = np.random.default_rng(1)
  leaves = [x + 0.3 * rng.normal(size=x.shape) for x in leaves]
  return jax.tree.unflatten(structure, leaves)


def _events(time=9):
  rng = np.random.default_rng(2)
  marks = jnp.asarray(rng.integers(0, 3, (2, time)))
  return marks, jnp.asarray(rng.exponential(1.0, (2, time)))


def _at(state, index):
  """The states after one event; memories are shared by all."""
  return jax.tree.map(lambda x: x[:, min(index, x.shape[1] - 1)], state)


@pytest.mark.usefixtures("x64")
@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_pieces_steps_and_resets(name):
  module, config = MODELS[name]
  params = _random(config, module)
  marks, gaps = _events()
  # The second row has another sequence from event 3 on, whose gap counts.
  reset = jnp.zeros(gaps.shape, bool).at[1, 3].set(True)
  elapsed = jnp.array([[0.0, 0.7, 3.0]] * 2)

  def rates(state):
    return module.intensity(config, params, state, elapsed)

  def close(value, expected):
    np.testing.assert_allclose(value, expected, 1e-10, 1e-12)

  whole, last = module.apply(config, params, marks, gaps, None, reset)
  _, state = module.apply(
    config, params, marks[:, :4], gaps[:, :4], None, reset[:, :4]
  )
  # The first gap of the second half lies across the cut.
  half, state = module.apply(config, params, marks[:, 4:], gaps[:, 4:], state)
  close(rates(_at(half, 2)), rates(_at(whole, 6)))
  close(rates(state), rates(last))
  alone, _ = module.apply(config, params, marks[1:, 3:], gaps[1:, 3:])
  close(
    rates(_at(whole, 6))[1:],
    module.intensity(config, params, _at(alone, 3), elapsed[1:]),
  )
  state = module.initial_state(config, params, (2,))
  for i in range(4):
    state = module.step(
      config, params, marks[:, i], gaps[:, i], state, reset[:, i]
    )
  close(rates(state), rates(_at(whole, 3)))
  # What comes later changes nothing, nor what is behind the end.
  changed, _ = module.apply(
    config, params, marks.at[:, 5:].set(0), 2 * gaps.at[:, :5].divide(2)
  )
  np.testing.assert_array_equal(
    rates(_at(changed, 4))[0], rates(_at(whole, 4))[0]
  )


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", MODELS)
def test_bounds_hold(name):
  module, config = MODELS[name]
  params = _random(config, module)
  states, _ = module.apply(config, params, *_events())
  elapsed = jnp.broadcast_to(jnp.linspace(0, 9, 200), (2, 9, 200))
  total = module.intensity(config, params, states, elapsed).sum(-1)
  for start in (0, 40):
    top = module.bound(config, params, states, elapsed[..., start])
    assert (top >= total[..., start:].max(-1) * (1 - 1e-12)).all()


@pytest.mark.usefixtures("x64")
def test_the_bound_of_decays_is_of_each_unit():
  # One unit falls while the other rises: the sum is highest between.
  state = decays.Decay(
    jnp.array([2.0, 0.0]),
    jnp.array([0.0, 2.0]),
    jnp.array([0.2, 5.0]),
    jnp.ones(2),
  )
  read_out = {
    "w": jnp.array([[1.0, 1.0], [1.0, -1.0]]),
    "b": jnp.zeros(2),
    "log_beta": jnp.array([0.3, -0.2]),
  }
  times = jnp.linspace(0, 20, 400)
  total = decays.intensity(read_out, state, times).sum(-1)
  for start in (0, 10, 100):
    top = decays.bound(read_out, state, times[start])
    assert top >= total[start:].max()
  assert total.max() > max(total[0], total[-1])


@pytest.mark.slow
def test_states_are_exact_after_a_long_time():
  """In float32 a scan over logarithms has lost the phase by then."""
  config = s2p2.Config(2, 4, num_states=16, relative_time=False)
  params = s2p2.init(jax.random.key(0), config)
  rng = np.random.default_rng(0)
  gaps = rng.exponential(1.0, (1, 10_000)).astype(np.float32)
  marks = jnp.asarray(rng.integers(0, 2, gaps.shape))
  _, last = s2p2.apply(config, params, marks, jnp.asarray(gaps))
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
    _, exact = s2p2.apply(
      config, wide, marks, jnp.asarray(gaps.astype(np.float64))
    )
    scale = np.abs(exact.x).max()
    np.testing.assert_allclose(last.x, exact.x, 0, 1e-4 * scale)
