"""Tests of the replay, against values of SPR's own code and a slow model.

The slow model keeps every step that ever came and looks for ends of episodes
one step at a time.
"""

import dataclasses
import functools

import hypothesis
from hypothesis import strategies
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl.replay import _sum_tree
from jaxseq.rl.replay import frames
from jaxseq.spr import _inputs
from jaxseq.training import checkpoint

SMALL = frames.Config(
  capacity=23,
  frame_shape=(2, 3),
  stack=4,
  num_predictions=2,
  max_steps=3,
)


@functools.partial(jax.jit, static_argnums=0)
def add_all(config, state, steps, start, stop):
  """Adds steps start .. stop - 1 of (frames, actions, rewards, dones)."""

  def body(i, state):
    return frames.add(config, state, *(x[i] for x in steps))

  return jax.lax.fori_loop(start, stop, body, state)


@functools.partial(jax.jit, static_argnums=0)
def sample(config, state, uniform, beta, num_steps, gamma):
  return frames.sample(
    config, state, uniform, beta=beta, num_steps=num_steps, gamma=gamma
  )


@functools.partial(jax.jit, static_argnums=0)
def look_up(config, state, slot, num_steps, gamma):
  """Returns sequences with all their observations."""
  after = frames.following(
    config, state, slot, num_steps=num_steps, gamma=gamma
  )
  places = slot[:, None] + after.offset
  return after, frames.observations(config, state, places)


update_priorities = jax.jit(frames.update_priorities, static_argnums=0)


def leaves(config, state):
  return np.asarray(state.priorities.rows).reshape(-1)[: config.capacity]


@pytest.mark.parametrize(
  "name",
  [pytest.param("replay_K2_n3_wrap", marks=pytest.mark.slow), "replay_K5_n10"],
)
def test_sequences_equal_the_reference(x64, golden, name):
  arrays = golden(f"spr/{name}")
  config = frames.Config(
    capacity=int(arrays["capacity"]),
    frame_shape=arrays["frames"].shape[1:],
    stack=int(arrays["stack"]),
    num_predictions=int(arrays["K"]),
    max_steps=int(arrays["n_step"]),
    priority_exponent=float(arrays["alpha"]),
    dtype="float64",
  )
  ahead, n = config.num_predictions, config.max_steps
  gamma, beta = float(arrays["gamma"]), float(arrays["beta"])
  steps = [jnp.asarray(arrays[x]) for x in ("frames", "action")]
  steps += [jnp.asarray(arrays[x]) for x in ("reward", "done")]
  state, count = frames.init(config), 0
  for r, stop in enumerate(arrays["round_step"]):
    want = {
      key: arrays[key][r]
      for key in arrays
      if np.shape(arrays[key])[:1] == arrays["round_step"].shape
    }
    state, count = add_all(config, state, steps, count, stop), stop
    # Values written back are powers; the last bit of one may differ.
    np.testing.assert_allclose(
      leaves(config, state), want["tree_leaves"], rtol=1e-14
    )
    drawn = sample(config, state, want["uniform_draws"], beta, n, gamma)
    slot, batch = np.asarray(drawn.slot), drawn.batch
    np.testing.assert_array_equal(slot, want["t_idx"])
    np.testing.assert_allclose(drawn.priority, want["priority"], rtol=1e-14)
    np.testing.assert_allclose(batch.weight, want["is_weights"], rtol=1e-13)
    after, images = look_up(config, state, slot, n, gamma)
    # The golden file has time first.
    expected = want["batch_observation"].transpose(1, 0, 3, 4, 2)
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(after.action.T, want["batch_prev_action"][1:])
    np.testing.assert_array_equal(after.done.T, want["batch_done"])
    np.testing.assert_array_equal(after.done_n.T, want["batch_done_n"])
    np.testing.assert_allclose(
      after.return_n.T, want["batch_return_n"], rtol=1e-13, atol=1e-15
    )
    # The batch of an update is a part of that.
    np.testing.assert_array_equal(batch.observation, expected[:, : ahead + 1])
    np.testing.assert_array_equal(batch.next_observation, expected[:, n])
    np.testing.assert_array_equal(
      batch.action.T, want["batch_prev_action"][1 : ahead + 1]
    )
    np.testing.assert_array_equal(batch.return_n, after.return_n[:, 0])
    np.testing.assert_array_equal(batch.done.T, want["batch_done"])
    np.testing.assert_array_equal(batch.done_n, want["batch_done_n"][0])
    np.testing.assert_allclose(batch.discount, gamma**n, rtol=1e-14)
    # Where n steps go beyond the end of the ring, the released code has the
    # right flag: it comes by another way there.
    place = (slot + np.arange(ahead + 1)[:, None]) % config.capacity
    right = place + n > config.capacity
    pinned = np.cumsum(after.done.T, axis=0) > 0
    np.testing.assert_array_equal(
      np.where(right, after.done_n.T, pinned),
      want["batch_done_n_pinned"],
    )
    state = update_priorities(config, state, slot, want["new_td"])
    np.testing.assert_allclose(
      leaves(config, state), want["leaves_after_update"], rtol=1e-14
    )


def test_returns_equal_the_reference(x64, golden):
  arrays = golden("spr/nstep_n10")
  length, streams = arrays["reward"].shape
  n, gamma = int(arrays["n_step"]), float(arrays["gamma"])
  config = frames.Config(
    capacity=length,
    frame_shape=(1, 1),
    stack=1,
    num_predictions=0,
    max_steps=n,
    dtype="float64",
  )
  images, action = np.zeros((length, 1, 1), np.uint8), np.zeros(length, int)
  for i in range(streams):
    steps = (images, action, arrays["reward"][:, i], arrays["done"][:, i])
    state = add_all(config, frames.init(config), steps, 0, length)
    slot = np.arange(length - n + 1)
    after, _ = look_up(config, state, slot, n, gamma)
    np.testing.assert_allclose(
      after.return_n[:, 0], arrays["return_n"][:, i], rtol=1e-12, atol=1e-14
    )
    np.testing.assert_array_equal(after.done_n[:, 0], arrays["done_n"][:, i])


class Model:
  """All steps that ever came, and the slow way to everything."""

  def __init__(self, config, steps):
    self.config = config
    self.frames, self.action, self.reward, self.done = steps
    self.count = 0
    self.priority = {}
    self.highest = 1.0

  def starts(self):
    """Returns the steps that can be drawn, by slot."""
    config = self.config
    before = max(config.stack - 1, 1)
    oldest = max(self.count - config.capacity, 0)
    newest = self.count - (config.num_predictions + config.max_steps + 3)
    steps = range(oldest + before, newest + 1)
    return {t % config.capacity: t for t in steps}

  def add(self, number):
    for _ in range(number):
      self.count += 1
      for t in self.starts().values():
        new = self.highest if self.config.new_priority == "max" else 1.0
        self.priority.setdefault(t, new)

  def update(self, slots, values):
    # The first value of a slot is written last.
    for slot, value in reversed(list(zip(slots, values))):
      value = np.float32(value) ** self.config.priority_exponent
      self.priority[self.starts()[slot]] = value
      self.highest = max(self.highest, value)

  def leaves(self):
    values = np.zeros(self.config.capacity)
    for slot, t in self.starts().items():
      values[slot] = self.priority[t]
    return values

  def image(self, t):
    frames = []
    for i in range(self.config.stack):
      ended = any(self.done[t - j] for j in range(1, i + 1))
      frame = self.frames[t - i]
      frames.insert(0, np.zeros_like(frame) if ended else frame)
    if len(self.config.frame_shape) == 2:
      return np.stack(frames, axis=-1)
    return np.concatenate(frames, axis=-1)

  def first_done(self, t):
    for k in range(self.config.num_predictions + 1):
      if self.done[t + k]:
        return k
    return 10**6

  def returns(self, t, n, gamma):
    total = 0.0
    for i in range(n):
      total += gamma**i * self.reward[t + i]
      if self.done[t + i]:
        return total, True
    return total, False


NUM_STEPS = 80

CONFIGS = (
  SMALL,
  dataclasses.replace(
    SMALL,
    frame_shape=(2, 2, 3),
    stack=1,
    num_predictions=0,
    max_steps=4,
    new_priority="max",
  ),
  dataclasses.replace(
    SMALL,
    frame_shape=(5,),
    frame_dtype="float32",
    stack=2,
    num_predictions=5,
    max_steps=2,
    prioritized=False,
  ),
)


@pytest.mark.slow
@hypothesis.given(strategies.data())
@hypothesis.settings(deadline=None, derandomize=True, max_examples=75)
def test_any_stream_as_in_a_slow_model(data):
  config = data.draw(strategies.sampled_from(CONFIGS))
  rng = np.random.default_rng(data.draw(strategies.integers(0, 2**32)))
  rate = data.draw(strategies.sampled_from([0.0, 0.05, 0.3, 1.0]))
  shape = (NUM_STEPS, *config.frame_shape)
  steps = (
    rng.integers(1, 256, shape).astype(config.frame_dtype),
    rng.integers(0, 5, NUM_STEPS),
    rng.normal(size=NUM_STEPS).astype(np.float32),
    rng.random(NUM_STEPS) < rate,
  )
  model, state = Model(config, steps), frames.init(config)
  for _ in range(data.draw(strategies.integers(1, 4))):
    number = data.draw(strategies.integers(0, NUM_STEPS // 4))
    state = add_all(config, state, steps, model.count, model.count + number)
    model.add(number)
    starts = model.starts()
    np.testing.assert_allclose(leaves(config, state), model.leaves(), rtol=1e-6)
    if not starts:
      continue
    n = data.draw(strategies.integers(1, config.max_steps))
    gamma = data.draw(strategies.sampled_from([0.5, 0.97]))
    beta = data.draw(strategies.sampled_from([0.0, 0.4, 1.0]))
    uniform = rng.random(6).astype(np.float32)
    drawn = sample(config, state, uniform, beta, n, gamma)
    check_sample(model, drawn, uniform, beta, n, gamma)
    value = rng.exponential(size=6).astype(np.float32)
    state = update_priorities(config, state, drawn.slot, value)
    if config.prioritized:
      model.update(np.asarray(drawn.slot), value)


def check_sample(model, drawn, uniform, beta, n, gamma):
  """Compares a batch with the model's, step by step."""
  starts, ahead = model.starts(), model.config.num_predictions
  batch = jax.tree.map(np.asarray, drawn.batch)
  upto = np.cumsum(model.leaves())
  np.testing.assert_array_equal(
    drawn.slot, np.searchsorted(upto, uniform * upto[-1])
  )
  weight = (model.leaves()[np.asarray(drawn.slot)] + 1e-5) ** -beta
  np.testing.assert_allclose(batch.weight, weight / weight.max(), rtol=1e-5)
  np.testing.assert_allclose(batch.discount, gamma**n, rtol=1e-6)
  _inputs.check(
    drawn.batch,
    steps=ahead + 1,
    rows=6,
    ahead=ahead,
    observation_shape=model.config.observation_shape,
  )
  for b, slot in enumerate(np.asarray(drawn.slot)):
    t = starts[slot]
    last = model.first_done(t)
    for k in range(ahead + 1):
      image = model.image(t + min(k, last))
      np.testing.assert_array_equal(batch.observation[b, k], image)
      assert batch.done[b, k] == model.done[t + k]
    for k in range(max(ahead, 1)):
      assert batch.action[b, k] == model.action[t + k]
    image = model.image(t + min(n, last))
    np.testing.assert_array_equal(batch.next_observation[b], image)
    total, ended = model.returns(t, n, gamma)
    # A sum of at most four float32 of size 1.
    np.testing.assert_allclose(batch.return_n[b], total, atol=1e-5)
    assert batch.done_n[b] == ended


@pytest.mark.slow
def test_a_step_changes_the_donated_replay_in_place():
  config = frames.Config()

  def step(state, frame, key):
    state = frames.add(config, state, frame, 1, 0.5, False)
    uniform = frames.draw(key, config, 32)
    drawn = frames.sample(
      config, state, uniform, beta=0.4, num_steps=10, gamma=0.99
    )
    priority = jnp.abs(drawn.batch.return_n)
    state = frames.update_priorities(config, state, drawn.slot, priority)
    return state, drawn.batch

  shapes = jax.eval_shape(lambda: frames.init(config))
  frame = jax.ShapeDtypeStruct((84, 84), jnp.uint8)
  key = jax.eval_shape(lambda: jax.random.key(0))

  def compile_for(function, *arguments):
    jitted = jax.jit(function, donate_argnums=0)
    return jitted.lower(*arguments).compile().memory_analysis()

  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
  assert size > 7e8
  memory = compile_for(step, shapes, frame, key)
  assert memory.alias_size_in_bytes >= size
  batch_size = 32 * 7 * 84 * 84 * 4
  # The batch itself may be put together twice, and the priorities once.
  assert memory.temp_size_in_bytes < 3 * batch_size < size / 30
  # Environments side by side.
  stacked = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((3, *x.shape), x.dtype),
    (shapes, frame),
  )
  add = jax.vmap(lambda s, f: frames.add(config, s, f, 1, 0.5, False))
  memory = compile_for(add, *stacked)
  assert memory.alias_size_in_bytes >= 3 * size
  assert memory.temp_size_in_bytes < size / 100


def test_memory_is_kept_and_the_old_state_is_gone():
  add = jax.jit(frames.add, static_argnums=0, donate_argnums=1)
  state = frames.init(SMALL)
  before = state.frames.unsafe_buffer_pointer()
  frame = np.ones(SMALL.frame_shape, np.uint8)
  after = add(SMALL, state, frame, 1, 1.0, False)
  assert after.frames.unsafe_buffer_pointer() == before
  assert state.frames.is_deleted()


def stream(seed, length=60):
  rng = np.random.default_rng(seed)
  return (
    rng.integers(0, 256, (length, *SMALL.frame_shape)).astype(np.uint8),
    rng.integers(0, 5, length),
    rng.normal(size=length).astype(np.float32),
    rng.random(length) < 0.2,
  )


@pytest.mark.slow
def test_environments_side_by_side():
  steps = [stream(seed) for seed in range(2)]
  alone = [
    add_all(SMALL, frames.init(SMALL), x, 0, 40 + i)
    for i, x in enumerate(steps)
  ]
  both = jax.tree.map(lambda *x: jnp.stack(x), *alone)
  next_steps = jax.tree.map(
    lambda *x: jnp.stack(x), *[tuple(part[50] for part in x) for x in steps]
  )
  uniform = np.linspace(0.1, 0.9, 12, dtype=np.float32).reshape(2, 6)

  @jax.jit
  @jax.vmap
  def run(state, step, uniform):
    state = frames.add(SMALL, state, *step)
    drawn = frames.sample(
      SMALL, state, uniform, beta=0.4, num_steps=3, gamma=0.9
    )
    return state, drawn

  state, drawn = run(both, next_steps, uniform)
  for i in range(2):
    state_i, drawn_i = jax.tree.map(lambda x, i=i: x[i], (state, drawn))
    want = add_all(SMALL, alone[i], steps[i], 50, 51)
    assert_equal(state_i, want)
    assert_equal(drawn_i, sample(SMALL, want, uniform[i], 0.4, 3, 0.9))


def assert_equal(got, want):
  jax.tree.map(
    # Products may be rounded otherwise in another program.
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6),
    got,
    want,
  )


def test_batches_come_in_proportion_to_priorities():
  state = add_all(SMALL, frames.init(SMALL), stream(0), 0, 60)
  can_start = np.flatnonzero(leaves(SMALL, state))
  assert len(can_start) == 23 - 7 - 3
  value = np.arange(1.0, 7.0)
  priority = jnp.asarray(value**2, jnp.float32)
  state = update_priorities(SMALL, state, can_start[:6], priority)
  uniform = frames.draw(jax.random.key(0), SMALL, 10_000)
  slot = jax.jit(_sum_tree.sample)(state.priorities, uniform)
  want = np.ones(len(can_start))
  want[:6] = value
  counts = np.bincount(slot, minlength=SMALL.capacity)
  # The standard deviation of a count is below 43.
  np.testing.assert_allclose(
    counts[can_start], 10_000 * want / want.sum(), atol=215
  )
  assert counts.sum() == counts[can_start].sum()


def test_where_nothing_can_start_the_priority_stays_0():
  state = add_all(SMALL, frames.init(SMALL), stream(0), 0, 60)
  before = leaves(SMALL, state)
  everywhere = np.arange(23)
  state = update_priorities(SMALL, state, everywhere, jnp.full(23, 9.0))
  np.testing.assert_array_equal(leaves(SMALL, state), 3 * before)


def test_checkpoint(tmp_path):
  state = add_all(SMALL, frames.init(SMALL), stream(1), 0, 31)
  with checkpoint.Checkpointer(tmp_path) as checkpointer:
    checkpointer.save(31, state)
    template = jax.eval_shape(lambda: frames.init(SMALL))
    step, restored = checkpointer.restore(template)
  assert step == 31
  assert type(restored) is frames.State
  jax.tree.map(np.testing.assert_array_equal, restored, state)


def test_bad_input():
  cases = (
    ({"stack": 0}, "stack: got 0, expected an integer of at"),
    (
      {"num_predictions": -1},
      "num_predictions: got -1, expected",
    ),
    ({"capacity": 10}, "capacity: got 10, expected at least 11"),
    ({"new_priority": "mean"}, "new_priority: got 'mean', expected one of"),
    ({"dtype": "int8"}, "dtype: got 'int8', expected one of"),
  )
  for change, message in cases:
    with pytest.raises(ValueError, match=message):
      dataclasses.replace(SMALL, **change)
  state = frames.init(SMALL)
  for frame in (np.zeros((3, 2), np.uint8), np.zeros((2, 3), np.float32)):
    with pytest.raises(ValueError, match=r"expected uint8 of shape \(2, 3"):
      frames.add(SMALL, state, frame, 0, 0.0, False)
  with pytest.raises(ValueError, match="num_steps: got 4, expected an integer"):
    frames.sample(
      SMALL, state, np.zeros(2, np.float32), beta=0, num_steps=4, gamma=0.9
    )
