import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import nn
from jaxseq.nn import bidirectional

# float32 sums in another order, over a few elements.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
GRU = mixers.make_config("gru", d_model=4)


def make(merge="sum"):
  ahead, back = nn.SequenceMixer(GRU), nn.SequenceMixer(GRU)
  model = nn.Bidirectional(ahead, back, merge)
  x = jax.random.normal(jax.random.key(1), (2, 6, 4))
  return model, jax.jit(model.init)(jax.random.key(0), x), x


def test_each_output_sees_its_whole_episode_and_no_other():
  model, variables, x = make("concat")
  reset = jnp.zeros((2, 6), bool).at[:, 2].set(True)
  y = jax.jit(model.apply)(variables, x, reset)
  assert y.shape == (2, 6, 8)
  params = variables["params"]
  apply = jax.jit(mixers.get("gru").apply, static_argnums=0)
  for part in (slice(0, 2), slice(2, 6)):
    ahead, _ = apply(GRU, params["forward"], x[:, part])
    back, _ = apply(GRU, params["backward"], jnp.flip(x[:, part], 1))
    alone = jnp.concatenate([ahead, jnp.flip(back, 1)], -1)
    np.testing.assert_allclose(y[:, part], alone, **CLOSE)


def test_padding_changes_no_output():
  model, variables, x = make()
  short = jax.jit(model.apply)(variables, x[:, :4])
  padded = x.at[:, 4:].set(jnp.nan)
  lengths = jnp.asarray([4, 4])
  reset = jnp.zeros((2, 6), bool)
  y = jax.jit(model.apply)(variables, padded, reset, lengths)
  np.testing.assert_allclose(y[:, :4], short, **CLOSE)


def test_values_of_elements_are_refused():
  config = mixers.make_config("s5", d_model=4, ssm_size=8, blocks=1)
  model = nn.Bidirectional(*(nn.SequenceMixer(config) for _ in range(2)))
  x = jnp.ones((2, 6, 4))
  variables = model.init(jax.random.key(0), x)
  with pytest.raises(ValueError, match=r"gaps: got shape \(2, 6\), .*both"):
    model.apply(variables, x, gaps=jnp.ones((2, 6)))


def test_reverse_leaves_padding_behind():
  x = jnp.arange(5.0)[None, :, None]
  found = bidirectional.reverse(x, jnp.asarray([3]))[0, :, 0]
  np.testing.assert_array_equal(found, [2, 1, 0, 3, 4])


@pytest.mark.slow
@pytest.mark.parametrize(
  "scan_layers", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_layers_read_in_both_directions(scan_layers):
  config = nn.StackConfig(
    "gru", d_model=4, bidirectional=True, scan_layers=scan_layers
  )
  model, x = nn.SequenceModel(config), make()[2]
  variables = model.init(jax.random.key(0), x)
  y, states = model.apply(variables, x)
  chex.assert_tree_all_finite(y)
  assert not jax.tree.leaves(states)

  def first(x):
    # The features of a norm sum to nothing.
    return model.apply(variables, x)[0][0, 0, 0]

  assert jnp.all(jnp.any(jax.grad(first)(x)[0] != 0, axis=-1))
  with pytest.raises(ValueError, match="bidirectional: got True, expected Fal"):
    model.apply(variables, x[:, 0], None, method="step")
  with pytest.raises(ValueError, match="bidirectional: got True, expected Fal"):
    model.apply(variables, x, states)


def test_errors_name_what_came():
  with pytest.raises(ValueError, match="merge: got 'mean', expected one of"):
    make("mean")
  with pytest.raises(ValueError, match="False with parallel mix"):
    nn.StackConfig("gru", bidirectional=True, time_axis="sp")
