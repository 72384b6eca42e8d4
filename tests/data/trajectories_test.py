"""Episodes cut from rollouts, mixed, and seen through windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import trajectories


def steps(dones, offset=0):
  """Steps whose number is in every array; dones are 0 and 1."""
  numbers = np.arange(len(dones)) + offset
  observations = np.stack([numbers, -numbers], axis=-1).astype(np.float64)
  return observations, numbers % 7, numbers.astype(np.float64), dones


def episodes(lengths, offset=0):
  dones = np.concatenate([[0] * (length - 1) + [1] for length in lengths])
  return trajectories.from_flat(*steps(dones, offset))


def test_complete_episodes_are_cut_out_of_recorded_steps():
  found = trajectories.from_flat(*steps([0, 0, 1, 0, 1, 0]))
  # The last step is of an unfinished episode.
  numbers = [0, 1, 2, 3, 4]
  assert found.observations[:, 0].tolist() == numbers
  assert found.rewards.tolist() == numbers
  assert found.actions.tolist() == numbers
  assert found.timesteps.tolist() == [0, 1, 2, 0, 1]
  assert np.flatnonzero(found.dones).tolist() == [2, 4]
  assert found.returns_to_go.tolist() == [3, 3, 2, 7, 4]
  dtypes = [array.dtype.name for array in found]
  assert dtypes == ["float32", "int32", "float32", "bool", "int32", "float32"]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"observations": np.array([[1.0], [np.inf]])}, "observations: got inf at"),
    ({"observations": np.array([[1.0], [1e39]])}, "step 1, axis 1 0, expected"),
    ({"observations": np.array(["a", "b"])}, "dtype <U1, expected numbers"),
    ({"actions": np.array([0, 2**31])}, "actions: got 2147483648 at step 1"),
    ({"rewards": np.array([None, 0])}, "rewards: got dtype object, expected"),
    ({"rewards": np.array([0, -np.inf])}, "rewards: got -inf at step 1"),
    ({"dones": np.array([2, 1])}, "dones: got 2 at step 0, expected 0 or 1"),
    ({"dones": np.array([np.nan, 1])}, "dones: got nan at step 0"),
    ({"dones": np.array(["", "x"])}, "dones: got dtype <U1, expected boolean"),
    ({"dones": np.array(True)}, r"observations: got shape \(2, 2\) beside"),
  ],
)
def test_steps_that_no_model_can_learn_are_named(changes, message):
  names = ("observations", "actions", "rewards", "dones")
  arrays = dict(zip(names, steps(np.array([0, 1]))))
  with pytest.raises(ValueError, match=message):
    trajectories.from_flat(**(arrays | changes))


def test_arrays_of_the_device_are_taken():
  arrays = (jnp.asarray(array) for array in steps(np.array([0, 1, 1])))
  found = trajectories.from_flat(*arrays)
  assert isinstance(found.rewards, np.ndarray)
  assert found.returns_to_go.tolist() == [1, 1, 2]


def test_wrong_steps_are_refused():
  with pytest.raises(
    ValueError, match=r"actions: got shape \(3,\) beside \(2,\), expected"
  ):
    trajectories.from_flat(np.zeros(2), np.zeros(3), np.zeros(2), np.ones(2))
  with pytest.raises(
    ValueError,
    match=r"rewards: got shape \(2, 1\) beside \(2,\), expected \(steps\)",
  ):
    trajectories.from_flat(*[np.zeros(2)] * 2, np.zeros((2, 1)), np.ones(2))
  with pytest.raises(ValueError, match="dones: got none True of 2 steps"):
    trajectories.from_flat(*[np.zeros(2)] * 4)


def test_returns_keep_their_digits_over_many_steps():
  lengths = [500] * 400
  dones = np.tile(np.arange(500) == 499, 400)
  rewards = np.random.default_rng(0).uniform(0, 10, len(dones))
  zeros = np.zeros(len(dones))
  found = trajectories.from_flat(zeros, zeros, rewards, dones)
  expected = rewards.reshape(400, 500).sum(1)
  # Half a unit in the last place of float32.
  np.testing.assert_allclose(
    trajectories.statistics(found).returns, expected, rtol=6e-8
  )
  assert trajectories.statistics(found).lengths.tolist() == lengths


def test_statistics():
  found = episodes([2, 3])
  statistics = trajectories.statistics(found)
  assert statistics.mean.tolist() == [2, -2]
  np.testing.assert_allclose(statistics.deviation, np.sqrt([2, 2]), rtol=1e-6)
  assert statistics.lengths.tolist() == [2, 3]
  assert statistics.returns.tolist() == [1, 9]
  constant = found._replace(observations=np.ones((5, 2), np.float32))
  assert np.all(trajectories.statistics(constant).deviation > 0)


def test_taking_episodes():
  taken = trajectories.take(episodes([2, 3, 1]), [2, 0])
  assert taken.rewards.tolist() == [5, 0, 1]
  assert taken.timesteps.tolist() == [0, 0, 1]
  assert taken.returns_to_go.tolist() == [5, 1, 1]


def test_mixtures_have_their_shares():
  poor, good = episodes([1] * 30), episodes([2] * 30, offset=1000)
  mixed = trajectories.mix([poor, good], 20, seed=3)
  rewards = mixed.rewards[mixed.dones]
  assert len(rewards) == len(set(rewards)) == 20
  assert np.sum(rewards >= 1000) == 10
  # The players are shuffled.
  assert not np.all(np.diff((rewards >= 1000).astype(int)) >= 0)
  again = trajectories.mix([poor, good], 20, seed=3)
  other = trajectories.mix([poor, good], 20, seed=4)
  np.testing.assert_array_equal(mixed.rewards, again.rewards)
  assert not np.array_equal(rewards, other.rewards[other.dones])
  uneven = trajectories.mix([poor, good, poor], 9, shares=[1, 2, 0])
  assert np.sum(uneven.dones) == 9
  assert np.sum(uneven.rewards[uneven.dones] >= 1000) == 6
  with pytest.raises(ValueError, match="asks for 40 of part 1, which has 30"):
    trajectories.mix([poor, good], 40, shares=[0, 1])
  with pytest.raises(
    ValueError, match="shares: got .1, -1., expected 2 weights of at least 0"
  ):
    trajectories.mix([poor, good], 4, shares=[1, -1])


def test_the_best_episodes():
  found = trajectories.from_flat(
    *[np.zeros(6)] * 2, np.array([5, 1, 1, 9, 0, 7]), np.array([0, 1] * 3)
  )
  assert trajectories.best(found, 0.1).rewards.tolist() == [1, 9]
  assert trajectories.best(found, 0.7).rewards.tolist() == [1, 9, 0, 7]
  with pytest.raises(
    ValueError,
    match="share: got 0.0, expected a number above 0 and of at most 1",
  ):
    trajectories.best(found, 0.0)


def expected_window(found, start, context):
  """Rows of a window: None in the padding."""
  end = start
  while end - start < context - 1 and not found.dones[end]:
    end += 1
  rows = list(range(start, end + 1))
  return [None] * (context - len(rows)) + rows


@pytest.mark.parametrize("context", [1, 3, 8])
def test_windows_are_padded_on_the_left(context):
  found = episodes([4, 1, 6, 2], offset=1)
  starts = np.arange(len(found.rewards))
  windows = jax.jit(trajectories.windows, static_argnums=2)(
    found, starts, context
  )
  for start in starts:
    rows = expected_window(found, start, context)
    window = jax.tree.map(lambda array, i=start: np.asarray(array[i]), windows)
    assert window.mask.tolist() == [row is not None for row in rows]
    for name in (
      "observations", "actions", "rewards", "returns_to_go", "timesteps"
    ):  # fmt: skip
      array = getattr(found, name)
      zero = np.zeros_like(array[0])
      want = [zero if row is None else array[row] for row in rows]
      np.testing.assert_array_equal(getattr(window, name), np.array(want))


def test_sampled_windows_start_at_every_step_alike():
  found = jax.device_put(episodes([5, 2, 9], offset=1))
  sample = jax.jit(trajectories.sample_windows, static_argnums=(2, 3))
  windows = sample(jax.random.key(0), found, 3200, 4)
  assert windows.observations.shape == (3200, 4, 2)
  assert windows.mask[:, -1].all()
  first = np.argmax(np.asarray(windows.mask), axis=1)
  starts = np.asarray(windows.rewards)[np.arange(3200), first]
  counts = np.bincount(starts.astype(int), minlength=17)[1:]
  # 200 expected at each of 16 steps; four standard deviations.
  assert np.abs(counts - 200).max() < 4 * np.sqrt(200)
  again = sample(jax.random.key(0), found, 3200, 4)
  other = sample(jax.random.key(1), found, 3200, 4)
  np.testing.assert_array_equal(windows.rewards, again.rewards)
  assert not np.array_equal(windows.rewards, other.rewards)


def test_files_hold_everything(tmp_path):
  path = tmp_path / "recorded.npz"
  found = episodes([3, 2])._replace(
    observations=np.arange(40, dtype=np.uint8).reshape(5, 2, 4)
  )
  trajectories.save(path, found)
  read = trajectories.load(path)
  for array, stored in zip(found, read, strict=True):
    assert array.dtype == stored.dtype
    np.testing.assert_array_equal(array, stored)
  assert [entry.name for entry in tmp_path.iterdir()] == ["recorded.npz"]


def test_wrong_files_are_named(tmp_path):
  path = tmp_path / "recorded.npz"
  with pytest.raises(data.MissingData, match="recorded.npz is not a file"):
    trajectories.load(path)
  trajectories.save(path, episodes([300]))
  content = path.read_bytes()
  for bad in (content[: len(content) // 2], b"text", b""):
    path.write_bytes(bad)
    with pytest.raises(
      ValueError, match=r"recorded.npz (is damaged|does not hold)"
    ):
      trajectories.load(path)
  observations, actions, rewards, dones = steps([0, 1])
  np.savez(
    path,
    observations=observations,
    actions=actions,
    rewards=np.array([0, np.nan]),
    dones=dones,
  )
  with pytest.raises(
    ValueError, match="recorded.npz: rewards: got nan at step 1, expected fini"
  ):
    trajectories.load(path)
  np.savez(path, rewards=np.zeros(3))
  with pytest.raises(ValueError, match="recorded.npz does not hold the"):
    trajectories.load(path)
  with pytest.raises(ValueError, match="cannot be written to: No such file"):
    trajectories.save(tmp_path / "no" / "file.npz", episodes([1]))
