"""Tests of resets and of what is annealed between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import encoders
from jaxseq.spr import agent_networks
from jaxseq.spr import conv_transition
from jaxseq.spr import learner
from jaxseq.spr import q_heads
from jaxseq.spr import resets


def agent(**options):
  encoder = encoders.Config(
    image_shape=(4, 4, 1), channels=(2,), kernels=(3,), strides=(1,)
  )
  parts = agent_networks.Config(
    encoder,
    q_heads.Config(2, 8, 3, atoms=3),
    conv_transition.Config(2, 2),
  )
  return learner.Config(parts, augmentation=None, **options)


@pytest.mark.slow
def test_resets_shrink_and_perturb_or_draw_anew():
  config = agent()
  init = jax.jit(learner.init, static_argnums=1)
  state = jax.device_get(init(jax.random.key(0), config))
  marked = jax.tree.map(lambda leaf: leaf + 100, state.params)
  state = state._replace(
    params=marked,
    target={name: marked[name] for name in state.target},
    optimizer=jax.tree.map(lambda leaf: leaf + 1, state.optimizer),
    step=np.int32(7),
  )
  how = resets.Config(shrink=0.8, perturb=0.2)
  reset = jax.jit(resets.reset, static_argnums=(1, 2))
  after = jax.device_get(reset(jax.random.key(1), how, config, state))
  assert jax.tree.structure(after) == jax.tree.structure(state)
  assert after.step == 7
  for name, part in after.params.items():
    for old, new in zip(jax.tree.leaves(marked[name]), jax.tree.leaves(part)):
      # Weights are drawn within 1 of 0; scales of the norm are 1.
      kept = 0.8 * old if name in resets.SHRUNK else np.zeros_like(old)
      limit = 0.2 if name in resets.SHRUNK else 1
      assert np.abs(new - kept).max() <= limit + 1e-4, name
  shrunk = after.params["encoder"]["conv_0"]["w"]
  assert not np.allclose(shrunk, 0.8 * marked["encoder"]["conv_0"]["w"])
  # The target network gets weights of its own, the momentum copy does not.
  target = after.target
  for name in ("encoder", "head"):
    pairs = zip(*map(jax.tree.leaves, (target[name], after.params[name])))
    assert any(not np.array_equal(a, b) for a, b in pairs)
  np.testing.assert_array_equal(
    after.momentum["encoder"]["conv_0"]["w"], shrunk
  )
  assert all(not np.any(leaf) for leaf in jax.tree.leaves(after.optimizer))


def test_resets_are_due_at_multiples_up_to_the_last():
  config = resets.Config(every=20, last=100)
  due = [step for step in range(200) if resets.is_due(config, step)]
  assert due == [20, 40, 60, 80, 100]


def test_annealing_moves_along_logarithms():
  config = resets.Annealing()
  updates = jnp.array([0, 5000, 10_000, 30_000])
  steps, gamma = resets.n_step_settings(config, updates)
  assert steps.dtype == jnp.int32
  # The geometric mean of 10 and 3 is 5.48.
  np.testing.assert_array_equal(steps, [10, 5, 3, 3])
  np.testing.assert_allclose(
    gamma, [0.97, 1 - np.sqrt(0.03 * 0.003), 0.997, 0.997], rtol=1e-5
  )


def test_bad_options_are_refused():
  with pytest.raises(ValueError, match="every: got .*, expected an integer"):
    resets.Config(every=0)
  with pytest.raises(
    ValueError, match="last_steps: got .*, expected an integer"
  ):
    resets.Annealing(last_steps=0)
  with pytest.raises(
    ValueError, match="first_gamma: got .*, expected a number"
  ):
    resets.Annealing(first_gamma=1.0)
