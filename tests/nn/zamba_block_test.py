"""Blocks of attention and feed-forward that several layers use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.nn import zamba_block
from tests.nn.layers_test import check_three_ways
from tests.nn.layers_test import x_of

_BLOCK = {
  "layers": (0, 2, 3),
  "blocks": 2,
  "heads": 2,
  "window": 9,
  "positions": "rotary",
  "width": 3,
  "rank": 2,
  "attention_rank": True,
  "bias": True,
}


def _stack(**options):
  return nn.StackConfig(
    "gru", d_model=4, num_layers=4, shared_block={**_BLOCK, **options}
  )


@pytest.mark.slow
def test_layers_use_blocks_in_turn():
  variables, y = check_three_ways(nn.SequenceModel(_stack()), x_of(2, 7))
  params = variables["params"]
  assert params["shared_block_0"]["L"].shape == (2, 4, 4)
  assert params["shared_block_1"]["W_q_down"].shape == (1, 8, 2)
  # What stands behind a rank is zero at first; then it matters, by layer.
  up = params["shared_block_0"]["W_in_up"]
  apply = jax.jit(nn.SequenceModel(_stack()).apply)
  outputs = [y]
  for turn in range(2):
    block = params["shared_block_0"] | {"W_in_up": up.at[turn].set(1.0)}
    other = {"params": params | {"shared_block_0": block}}
    outputs.append(apply(other, x_of(2, 7))[0])
  for i in range(3):
    assert np.max(np.abs(outputs[i] - outputs[i - 1])) > 1e-3


def test_plans():
  configs, uses = zamba_block.plan(_BLOCK, 4, 4)
  assert [config.turns for config in configs] == [2, 1]
  assert uses == {0: (0, 0), 2: (1, 0), 3: (0, 1)}
  assert zamba_block.plan({}, 4, 4) == ((), {})
  for options, message in (
    ({"layers": (2, 0)}, r"layers: got \(2, 0\), expected numbers of layers"),
    ({"layers": (4,)}, "expected numbers of layers below 4, in order"),
    ({"blocks": 4}, "blocks: got 4, expected an integer from 1 to 3"),
    ({"d_model": 3}, "option of shared_block: got 'd_model', expected one of"),
    ({"heads": 3}, "heads: got 3, expected a divisor of d_model = 8"),
    ({"kv_heads": 3}, "kv_heads: got 3, expected a divisor of"),
    ({"rank": 0}, "rank: got 0, expected an integer of at least 1"),
  ):
    with pytest.raises(ValueError, match=message):
      _stack(**options)
  with pytest.raises(
    ValueError, match=r"shared_block: got .*, expected \(\) w"
  ):
    nn.StackConfig("gru", shared_block=_BLOCK, num_layers=4, scan_layers=True)


def test_a_block_in_numpy(x64):
  """One turn of one block, as its definition says."""
  del x64
  config = zamba_block.Config(
    8, turns=2, heads=2, kv_heads=1, window=9, width=3, rank=2, bias=True
  )
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(
    lambda key: zamba_block.init(key, config), jax.random.key(0)
  )
  p = {k: rng.normal(size=leaf.shape) for k, leaf in shapes.items()}
  x = rng.normal(size=(5, 8))
  y, _ = zamba_block.apply(config, p, jnp.asarray(x), turn=1)

  def norm(x, weight):
    return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-5) * weight

  v = norm(x, p["norm"])
  q, k, u = v @ p["W_q"], v @ p["W_k"], v @ p["W_v"]
  heads = []
  for part in np.split(q, 2, axis=-1):
    scores = np.where(np.tri(5), part @ k.T / np.sqrt(4 / 2), -np.inf)
    weights = np.exp(scores)
    heads.append(weights / weights.sum(-1, keepdims=True) @ u)
  h = norm(np.concatenate(heads, -1) @ p["W_o"], p["feedforward_norm"])
  both = h @ (p["W_in"] + p["W_in_down"][1] @ p["W_in_up"][1])
  a, b = np.split(both + p["W_in_bias"], 2, axis=-1)
  a = np.asarray(jax.nn.gelu(a, approximate=False))
  z = (a * b) @ p["W_out"] + p["W_out_bias"]
  # float64 rounding.
  np.testing.assert_allclose(y, z @ p["L"][1], rtol=1e-10, atol=1e-12)
