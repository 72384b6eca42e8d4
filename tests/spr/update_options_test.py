"""Tests of what the options of an update do, on small agents."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import encoders
from jaxseq.rl.replay import frames
from jaxseq.spr import _inputs
from jaxseq.spr import agent_networks
from jaxseq.spr import augmentation
from jaxseq.spr import conv_transition
from jaxseq.spr import learner
from jaxseq.spr import optimizer
from jaxseq.spr import q_heads
from jaxseq.spr import update


def tiny(**options):
  """A small agent; options go to the update, or to the head as head_*."""
  encoder = encoders.Config(
    image_shape=(8, 8, 2), channels=(4,), kernels=(3,), strides=(2,)
  )
  head = {"hidden": 8, "atoms": 5, "v_min": -2.0, "v_max": 2.0}
  for name in [name for name in options if name.startswith("head_")]:
    head[name.removeprefix("head_")] = options.pop(name)
  model = options.pop("transition", conv_transition.Config(3, 4))
  parts = agent_networks.Config(encoder, q_heads.Config(3, 36, **head), model)
  options = {"num_predictions": 2, "augmentation": None, **options}
  return learner.Config(parts, **options)


def tiny_batch(seed, ahead=2, size=6):
  rng = np.random.default_rng(seed)
  done = rng.random((ahead + 1, size)) < 0.2
  done[0, :2], done[-1, :2] = False, True
  images = rng.integers(0, 256, (ahead + 1, size, 8, 8, 2), np.uint8)
  batch = frames.Batch(
    observation=images.swapaxes(0, 1),
    next_observation=rng.integers(0, 256, (size, 8, 8, 2), np.uint8),
    action=rng.integers(0, 3, (max(ahead, 1), size), np.int32).T,
    return_n=rng.normal(size=size).astype(np.float32),
    discount=np.float32(0.9),
    done=done.T,
    done_n=done.any(axis=0),
    weight=rng.uniform(0.5, 1, size).astype(np.float32),
  )
  return jax.tree.map(jnp.asarray, batch)


step = jax.jit(update.update, static_argnums=0)
jit_init = jax.jit(learner.init, static_argnums=1)
jit_draw = jax.jit(update.draw, static_argnums=1)


def start(config, seed=0):
  # The options of updates do not matter here: fewer programs to compile.
  state = jit_init(jax.random.key(seed), tiny())
  return learner.start(config, state.params, state.noise)


def draw(seed=0):
  return jit_draw(jax.random.key(seed), tiny(), tiny_batch(0))


def assert_near(a, b):
  # The same float32 sums, compiled in another program.
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), a, b
  )


@pytest.mark.slow
def test_target_network_follows_by_period_and_share():
  config = tiny(target_period=2, target_tau=0.25)
  state = before = start(config)
  for i in range(2):
    state, _ = step(config, state, tiny_batch(i), draw(i))
    if i == 0:
      assert_near(state.target, before.target)
      assert_near(state.target_noise, before.target_noise)
  online = {name: state.params[name] for name in state.target}
  want = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, before.target, online)
  assert_near(state.target, want)
  assert_near(state.target_noise, state.noise)
  assert not np.allclose(
    want["head"]["value_out"]["b"], before.target["head"]["value_out"]["b"]
  )


@pytest.mark.slow
def test_momentum_copy_is_one_update_behind():
  config = tiny()
  first = start(config)
  second, _ = step(config, first, tiny_batch(0), draw(0))
  assert_near(second.momentum["encoder"], first.params["encoder"])
  third, _ = step(config, second, tiny_batch(1), draw(1))
  assert_near(third.momentum["encoder"], second.params["encoder"])


@pytest.mark.slow
def test_done_n_switch_looks_at_the_first_step_only():
  batch = tiny_batch(0)
  assert (batch.done_n != batch.done[:, 0]).any()
  first, plain = tiny(done_n="first"), tiny()
  draws, state = draw(), start(plain)
  got = step(first, state, batch, draws)
  want = step(plain, state, batch._replace(done_n=batch.done[:, 0]), draws)
  assert_near(got, want)
  other = step(plain, state, batch, draws)
  assert abs(other[1].rl_loss - got[1].rl_loss) > 1e-4


@pytest.mark.slow
def test_predictions_can_aim_at_the_target_network():
  config = tiny(spr_target="target")
  state = start(config)
  assert state.momentum is None
  state = state._replace(target=start(config, seed=7).target)
  batch, draws = tiny_batch(0), draw()
  _, got = step(config, state, batch, draws)
  momentum = tiny()
  _, want = step(
    momentum,
    start(momentum)._replace(
      target=state.target,
      momentum={
        "encoder": state.target["encoder"],
        "head": q_heads.projection_params(
          config.networks.head, state.target["head"]
        ),
      },
    ),
    batch,
    draws,
  )
  assert_near(got, want)


@pytest.mark.slow
def test_values_without_distribution_or_predictions():
  config = tiny(
    transition=None,
    target_noise="fresh",
    priority="loss",
    head_atoms=None,
    head_noisy=False,
  )
  batch = tiny_batch(0, ahead=0)
  state = jit_init(jax.random.key(0), config)
  parts = config.networks
  assert set(state.params) == {"encoder", "head"}
  assert state.noise is None
  after, metrics = step(config, state, batch, _inputs.Draws())
  q, q_next = (
    agent_networks.action_values(parts, state.params, image)[0]
    for image in (batch.observation[:, 0], batch.next_observation)
  )
  target = batch.return_n + 0.9 * (1 - batch.done_n) * q_next.max(axis=-1)
  error = target - q[jnp.arange(6), batch.action[:, 0]]
  loss = np.where(abs(error) < 1, error**2 / 2, abs(error) - 0.5)
  np.testing.assert_allclose(metrics.priority, loss, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(
    metrics.loss, (loss * batch.weight).mean(), rtol=1e-4
  )
  assert metrics.spr_loss == 0
  assert metrics.transition_norm == 0
  assert not np.allclose(
    after.params["head"]["value_out"]["b"],
    state.params["head"]["value_out"]["b"],
  )


@pytest.mark.slow
def test_optimizer_options():
  params = start(tiny()).params
  grads = jax.tree.map(lambda leaf: 3 * jnp.cos(leaf), params)
  clipped, norms = optimizer.clip(grads, 10.0)
  parts = (("encoder", "head"), ("transition",))
  for group, norm in zip(parts, norms):
    leaves = jax.tree.leaves([clipped[name] for name in group])
    total = np.sqrt(sum(np.square(leaf).sum() for leaf in leaves))
    np.testing.assert_allclose(total, 10, rtol=1e-5)
    assert norm > 10
  assert_near(clipped["predictor"], grads["predictor"])
  assert_near(optimizer.clip(grads, None)[0], grads)

  @jax.jit
  def updates(grads, params):
    options = {}, {"weight_decay": 0.1}
    adams = [optimizer.make(optimizer.Config(**each)) for each in options]
    return [adam.update(grads, adam.init(params), params)[0] for adam in adams]

  plain, decayed = updates(grads, params)
  want = jax.tree.map(
    lambda u, p: u - 1e-4 * 0.1 * p if p.ndim > 1 else u, plain, params
  )
  # The updates are near 1e-4, the decay near 1e-6.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), decayed, want
  )


@pytest.mark.slow
def test_state_can_be_donated_and_keys_decide():
  config = tiny(augmentation=augmentation.Config(pad=1))
  donating = jax.jit(update.train_step, static_argnums=0, donate_argnums=1)
  runs = []
  for seed in (0, 0, 1):
    state, batch = start(config), tiny_batch(0)
    for i in range(3):
      key = jax.random.fold_in(jax.random.key(seed), i)
      state, metrics = donating(config, state, batch, key)
    runs.append((state.params["predictor"]["w"], metrics.loss))
  np.testing.assert_array_equal(runs[0][0], runs[1][0])
  assert not np.array_equal(runs[0][0], runs[2][0])
  assert np.isfinite(runs[2][1])


def test_every_branch_draws_for_itself():
  config = tiny(target_noise="fresh", augmentation=augmentation.Config())
  batch = tiny_batch(0, size=50)
  draws = update.draw(jax.random.key(0), config, batch)
  rows = [np.ravel(draw.row) for draw in draws.augmentations]
  assert draws.augmentations.spr.row.shape == (50, 2)
  for i in range(4):
    for j in range(i):
      assert not np.array_equal(rows[i][:50], rows[j][:50])
  assert not np.array_equal(
    draws.noise["value_out"].inputs, draws.target_noise["value_out"].inputs
  )
  shared = dataclasses.replace(config, shared_next=True)
  draws = update.draw(jax.random.key(0), shared, batch)
  _, _, third, fourth = draws.augmentations
  np.testing.assert_array_equal(third.row, fourth.row)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"momentum_tau": 0.0}, "momentum_tau: got 0.0, expected a number above 0"),
    ({"done_n": "all"}, "done_n: got 'all', expected one of"),
    ({"target_period": 0}, "target_period: got 0, expected an integer of at"),
    (
      {"transition": conv_transition.Config(4, 4)},
      "transition.num_actions: got 4, expected 3",
    ),
    (
      {"transition": conv_transition.Config(3, 5)},
      "transition.channels: got 5, expected 4",
    ),
  ],
)
def test_bad_options_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    tiny(**options)


def test_batches_of_another_shape_are_refused():
  config, batch = tiny(), tiny_batch(0)
  state = jax.eval_shape(lambda: learner.init(jax.random.key(0), config))
  for name in ("observation", "action", "done_n"):
    bad = batch._replace(**{name: getattr(batch, name)[:-1]})
    with pytest.raises(ValueError, match=f"batch.{name}: got shape"):
      update.update(config, state, bad, _inputs.Draws())


def test_head_must_fit_the_encoder():
  with pytest.raises(
    ValueError, match=r"head.features: got 100, expected 3136"
  ):
    agent_networks.Config(encoders.Config(), q_heads.Config(3, 100))


@pytest.mark.slow
def test_noise_changes_the_values_to_act_by():
  config = tiny()
  state, image = start(config), tiny_batch(0).observation[:, 0]
  plain, _ = agent_networks.action_values(config.networks, state.params, image)
  noisy, _ = agent_networks.action_values(
    config.networks, state.params, image, state.noise
  )
  assert noisy.shape == (6, 3)
  assert not np.allclose(noisy, plain)
