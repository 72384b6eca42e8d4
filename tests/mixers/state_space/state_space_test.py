"""What S4, S4D and S5 have in common beside the contract."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers

_OPTIONS = {
  "s4": {"d_state": 8},
  "s4d": {"d_state": 8},
  "s5": {"ssm_size": 8, "blocks": 1},
}


def problem(name, **options):
  """A mixer of four channels, a configuration, and parameters."""
  mixer = mixers.get(name)
  config = mixers.make_config(name, d_model=4, **_OPTIONS[name], **options)
  init = jax.jit(mixer.init, static_argnums=1)
  return mixer, config, init(jax.random.key(0), config)


@pytest.mark.parametrize(
  "both", [pytest.param(False, marks=pytest.mark.slow), True]
)
@pytest.mark.parametrize(
  ("name", "options"),
  [
    pytest.param(
      "s4",
      {"n_ssm": 2, "method": "convolution"},
      marks=pytest.mark.slow,
    ),
    ("s4d", {"method": "convolution"}),
    ("s5", {}),
  ],
)
def test_resets_equal_episodes_alone(x64, name, options, both):
  """S4 and S4D run the whole by chunks, the episodes by convolutions."""
  del x64
  mixer, config, params = problem(name, bidirectional=both, **options)
  starts = [0, 40, 80, 120]
  reset = jnp.zeros((1, 120), bool).at[0, jnp.asarray(starts[1:-1])].set(True)
  x = jax.random.normal(jax.random.key(1), (1, 120, 4), jnp.float64)
  apply = jax.jit(functools.partial(mixer.apply, config, params))
  whole, final = apply(x, None, reset)
  parts = [apply(x[:, i:j]) for i, j in zip(starts, starts[1:])]
  # float64 rounding.
  chex.assert_trees_all_close(
    (whole, final),
    (jnp.concatenate([y for y, _ in parts], 1), parts[-1][1]),
    rtol=1e-9,
    atol=1e-11,
  )


@pytest.mark.parametrize(
  "name", [pytest.param("s4d", marks=pytest.mark.slow), "s5"]
)
def test_half_the_sampling_rate_gives_every_second_output(name):
  """step_rescale = 2 on every second sample of a signal held for two steps."""
  mixer, config, params = problem(name)
  x = jax.random.normal(jax.random.key(1), (1, 20, 4))
  apply = jax.jit(mixer.apply, static_argnums=0)
  fine, _ = apply(config, params, jnp.repeat(x, 2, axis=1))
  _, slow, _ = problem(name, step_rescale=2.0)
  coarse, _ = apply(slow, params, x)
  # Zero-order hold is exact for a held signal; float32 rounding.
  np.testing.assert_allclose(fine[:, 1::2], coarse, atol=1e-5)


@pytest.mark.parametrize("name", _OPTIONS)
def test_bidirectional_has_neither_step_nor_state(name):
  mixer, config, params = problem(name, bidirectional=True)
  state = mixer.initial_state(config, (2,))
  with pytest.raises(
    ValueError, match="config.bidirectional: got True, expected False"
  ):
    mixer.step(config, params, jnp.ones((2, 4)), state)
  with pytest.raises(ValueError, match="state: got .*, expected None"):
    mixer.apply(config, params, jnp.ones((2, 3, 4)), state)
