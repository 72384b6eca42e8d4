"""Tests of transition models that are mixers, alone and in an update."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import nn
from jaxseq import spr
from jaxseq.spr import learner
from jaxseq.spr import mixer_transition
from jaxseq.spr import optimizer
from jaxseq.spr import stacks
from tests.spr import games
from tests.spr import update_options_test as options

QUICK = ("lstm",)
ACTION = jnp.array([[0, 1, 2], [2, 1, 0]])


def config_for(mixer, **changes):
  extra = {"attention": {"heads": 2, "window": 4}}.get(mixer, {})
  return mixer_transition.Config(
    nn.StackConfig(
      mixer,
      extra,
      d_model=4,
      num_layers=1,
      activation="full_glu",
      final_norm=False,
    ),
    num_actions=3,
    latent_shape=(3, 3, 4),
    **changes,
  )


def of_all_mixers(quick):
  return [
    pytest.param(name, marks=() if name in quick else pytest.mark.slow)
    for name in mixers.names()
  ]


@pytest.mark.parametrize("mixer", of_all_mixers(QUICK))
def test_a_rollout_is_a_fold_of_the_mixers_steps(mixer):
  config = config_for(mixer)
  params = jax.jit(lambda key: mixer_transition.init(key, config))(
    jax.random.key(0)
  )
  latent = jax.random.uniform(jax.random.key(1), (1, 3, 3, 4))
  latent = jnp.tile(latent, (2, 1, 1, 1))

  @jax.jit
  def both(params, latent):
    rolled = mixer_transition.apply(config, params, latent, ACTION)
    # The same by the mixer's own parallel form: once the latents are known,
    # so are the inputs of the stack.
    before = jnp.concatenate([latent[:, None], rolled[:, :-1]], axis=1)
    one_hot = jax.nn.one_hot(ACTION, 3)
    x = jnp.concatenate([before.reshape(2, 3, -1), one_hot], axis=-1)
    state = stacks.initial_state(config, (2,))
    y, _ = stacks.apply(config, params, x, state)
    return rolled, jax.nn.relu(before + y.reshape(before.shape))

  rolled, wanted = map(np.asarray, both(params, latent))
  low, high = (
    f(wanted, axis=(2, 3, 4), keepdims=True) for f in (np.min, np.max)
  )
  # Float32 sums of fewer than 100 terms in another order.
  np.testing.assert_allclose(
    rolled, (wanted - low) / (high - low + 1e-5), rtol=1e-4, atol=1e-5
  )
  # The latent is the same in both rows, and the first action is not.
  assert not np.allclose(rolled[0, 0], rolled[1, 0])


@pytest.mark.slow
def test_a_loop_equals_the_unrolled_rollout():
  config = config_for("gru", skip=False)
  loop = dataclasses.replace(config, unroll=False)
  params = mixer_transition.init(jax.random.key(0), config)
  latent = jax.random.uniform(jax.random.key(1), (2, 3, 3, 4))
  outs = [
    jax.jit(lambda p, z, c=c: mixer_transition.apply(c, p, z, ACTION))(
      params, latent
    )
    for c in (config, loop)
  ]
  # The same float32 sums, compiled in another program.
  np.testing.assert_allclose(*outs, rtol=1e-5, atol=1e-6)
  assert outs[0].shape == (2, 3, 3, 3, 4)


@pytest.mark.slow
def test_an_update_trains_it():
  config = options.tiny(
    transition=config_for("lstm"),
    optimizer=optimizer.Config(learning_rate=3e-3),
  )
  state = options.jit_init(jax.random.key(0), config)
  before = state.params
  batch = options.tiny_batch(0)
  draws = options.draw()
  state, metrics = options.step(config, state, batch, draws)
  assert metrics.spr_loss > 0
  assert metrics.transition_norm > 0
  moved = jax.tree.map(
    lambda a, b: bool((a != b).any()),
    before["transition"],
    state.params["transition"],
  )
  assert all(jax.tree.leaves(moved))
  # The predictions get nearer to what came.
  first = metrics.spr_loss
  for _ in range(20):
    state, metrics = options.step(config, state, batch, draws)
  assert metrics.spr_loss < 0.9 * first


def test_settings_name_the_mixer():
  game = games.make()
  settings = spr.settings.Settings(
    encoder={"channels": (2,)},
    transition={
      "stack": {"mixer": "s5", "d_model": 6, "mixer_options": {"blocks": 2}}
    },
  )
  made = spr.settings.agent_config(settings, game).variant.update
  model = made.networks.transition
  assert isinstance(model, mixer_transition.Config)
  assert (model.stack.mixer, model.stack.d_model) == ("s5", 6)
  assert model.stack.mixer_options == (("blocks", 2),)
  assert model.num_actions == 3
  assert model.latent_shape == (2, 2, 2)
  params = jax.eval_shape(lambda: learner.init(jax.random.key(0), made).params)
  assert params["transition"]["in"]["w"].shape == (2 * 2 * 2 + 3, 6)
  for wrong, message in (
    ({"mixer": "s6"}, "s6"),
    ({"mixer": "lstm", "norm": "batch"}, "stack.norm: got 'batch'"),
    ({"mixer": "lstm", "residua": True}, "residua.*residual"),
    (
      {"mixer": "lstm", "mixer_options": {"blocks": 2}},
      "lstm.*got 'blocks'",
    ),
  ):
    wrong = {"stack": wrong}
    with pytest.raises(ValueError, match=message):
      spr.settings.agent_config(spr.settings.Settings(transition=wrong), game)


def test_bad_input_is_refused():
  config = config_for("lstm")
  params = jax.eval_shape(
    lambda: mixer_transition.init(jax.random.key(0), config)
  )
  latent = jnp.zeros((2, 3, 3, 4))
  with pytest.raises(ValueError, match="latent: got shape .2, 3, 3, 3"):
    mixer_transition.apply(config, params, latent[..., :3], ACTION)
  with pytest.raises(ValueError, match="one for each latent"):
    mixer_transition.apply(config, params, latent, ACTION[:1])
  with pytest.raises(ValueError, match="steps >= 1"):
    mixer_transition.apply(config, params, latent, ACTION[0])
  with pytest.raises(ValueError, match="epsilon: got -1.0, expected"):
    config_for("lstm", epsilon=-1.0)
