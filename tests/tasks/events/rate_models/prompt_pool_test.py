"""Pools of prompts against the reference, and what has a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.tasks.events.rate_models import prompt_pool


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["per_sequence", "batchwise"])
def test_pools_are_those_of_the_reference(golden, kind):
  known = golden("events/prompt_pool")

  def total(x, prompt, key):
    choice = prompt_pool.choose(
      key, x.mean(1), int(known["top_k"]), batchwise=kind == "batchwise"
    )
    rows = prompt[choice.index].reshape(len(x), -1, x.shape[-1])
    prompted = jnp.concatenate([rows, x], axis=1)
    cosine = choice.cosine.mean()
    return cosine + jnp.sum(prompted**2), (choice.index, cosine, prompted)

  arguments = known["x"], known["prompt"], known["prompt_key"]
  slopes, values = jax.grad(total, argnums=(0, 1, 2), has_aux=True)(*arguments)
  np.testing.assert_array_equal(values[0], known[f"{kind}/idx"])
  for got, name in (
    (values[1], "reduce_sim"),
    (values[2], "prompted"),
    *zip(slopes, ("grad_x", "grad_prompt", "grad_key")),
  ):
    np.testing.assert_allclose(got, known[f"{kind}/{name}"], atol=1e-12)
  # What nobody has chosen has no gradient.
  others = np.setdiff1d(np.arange(8), values[0])
  assert not np.any(slopes[1][others])
  assert not np.any(slopes[2][others])


@pytest.mark.slow
def test_means_go_on_and_begin_anew():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 3)), jnp.float32)
  none = jnp.zeros((2, 3)), jnp.zeros(2)
  reset = jnp.zeros((2, 7), bool).at[1, 4].set(True)
  whole, _ = prompt_pool.means(x, none, reset)
  np.testing.assert_allclose(whole[0, 5], x[0, :6].mean(0), rtol=1e-5)
  np.testing.assert_allclose(whole[1, 5], x[1, 4:6].mean(0), rtol=1e-5)
  first, past = prompt_pool.means(x[:, :3], none)
  second, _ = prompt_pool.means(x[:, 3:], past, reset[:, 3:])
  halves = jnp.concatenate([first, second], axis=1)
  np.testing.assert_allclose(halves, whole, rtol=1e-5)
