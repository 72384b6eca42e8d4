"""gymnax's memory chain does what bsuite's does, which `make` promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs

# Every instance is compiled anew.
_make = functools.cache(functools.partial(envs.make, "MemoryChain-bsuite"))


def _play(length, num_bits, key, right):
  """Plays one episode; the last answer is the context bit if `right`."""
  env, params = _make(num_bits=num_bits)
  params = params.replace(memory_length=length)
  first, state = env.reset(key, params)
  bits = np.asarray(state.context)
  query = int(state.query)
  answer = bits[query] if right else 1 - bits[query]
  actions = [0] * length + [int(answer)]
  steps = []
  for action in actions:
    steps.append(env.step(key, state, jnp.int32(action), params))
    state = steps[-1][1]
  return first, bits, query, steps


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize(("length", "num_bits"), [(1, 1), (5, 1), (4, 3)])
def test_an_episode(length, num_bits, right):
  for seed in range(4):
    first, bits, query, steps = _play(
      length, num_bits, jax.random.key(seed), right
    )
    # Steps 0 to length: length + 1 of them, the last alone terminates.
    assert len(steps) == length + 1
    for t, (_, _, reward, terminated, truncated, info) in enumerate(steps):
      last = t == length
      expected = np.concatenate(
        [
          [1 - t / length],
          [query if t == length - 1 else 0],
          2 * bits - 1 if t == 0 else np.zeros(num_bits),
        ]
      )
      np.testing.assert_allclose(info["final_observation"], expected, atol=1e-6)
      assert reward == ((1 if right else -1) if last else 0)
      assert bool(terminated) == last
      assert not truncated
      if t == 0 and length > 1:
        # The reset observation is repeated once.
        np.testing.assert_array_equal(info["final_observation"], first)
