"""Steps of networks as graphs of ONNX, run by onnxruntime alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq.interop import step_program
from tests.interop import step_cases

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from jaxseq.interop import onnx_graph  # noqa: E402

# float32 by other programs, over 50 steps of states that are fed back.
_TOLERANCE = 1e-4


@pytest.mark.parametrize(
  "networks",
  [
    # Pairs of real numbers, branches, and a table of tokens.
    {"tokens": step_cases.network("lru", "attention", tokens=True)},
    # Loops.
    pytest.param(
      {"two": step_cases.network("lru", "gla")}, marks=pytest.mark.slow
    ),
    pytest.param(
      {name: step_cases.network(name) for name in mixers.names()},
      marks=[pytest.mark.slow, pytest.mark.timeout(3000)],
      id="all",
    ),
  ],
)
def test_graphs_do_what_steps_do(tmp_path, networks):
  errors = step_cases.compare(tmp_path, "onnx", networks)
  assert max(errors.values()) < _TOLERANCE, errors


def _outputs(function, *arrays):
  """Results of a function by JAX, and by its graph for a batch of any size."""
  batch = step_program.symbol()
  shapes = [
    jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype) for x in arrays
  ]
  names = [f"x{i}" for i in range(len(arrays))]
  wanted = function(*arrays)
  outputs = [f"y{i}" for i in range(len(wanted))]
  graph = onnx_graph.convert(function, shapes, names, outputs)
  session = onnxruntime.InferenceSession(graph.SerializeToString())
  return wanted, session.run(outputs, dict(zip(names, arrays)))


def test_numbers_near_zero_keep_their_digits():
  x = np.float32([[1e-6, -1e-6, 0.5, -3.0], [20.0, 1e-3, -0.9, 0.0]])
  y = np.float32([[1.0, -1.0, -2.0, 0.0], [-0.0, 3.0, -1e-9, 2.0]])

  def function(x, y):
    return [
      jnp.expm1(x),
      jnp.log1p(jnp.maximum(x, -0.95)),
      jnp.arctan2(x, y),
      jax.lax.rem(x, jnp.float32(0.7)),
    ]

  for want, result in zip(*_outputs(function, x, y)):
    np.testing.assert_allclose(result, want, rtol=1e-5, atol=1e-12)


def test_logarithms_of_large_numbers_keep_their_digits():
  x = np.float32([[-0.99999994, -0.9999, 1.0, 1e5], [1e7, 1e20, np.inf, -1.0]])
  (want,), (result,) = _outputs(lambda x: [jnp.log1p(x)], x)
  np.testing.assert_allclose(result, want, rtol=1e-6)


def test_operations_of_places():
  x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

  def function(x):
    flags = x > 7
    return [
      jax.lax.cummax(x[:, ::-1], axis=1),
      jnp.cumsum(x, axis=2),
      jax.lax.top_k(x, 2)[1],
      jnp.pad(x, [(0, 0), (1, 0), (0, 2)], constant_values=3),
      jnp.stack([x[..., 1], x[..., 3]], axis=1),
      flags.any(axis=1).astype(jnp.int32),
      jnp.argmax(-x, axis=2).astype(jnp.int32),
      jnp.where(x[:, :1] > 2, flags, ~flags).astype(jnp.int32),
      jax.lax.dynamic_update_slice(x, x[:, :1], (0, 1, 0)),
      jax.lax.switch(
        (x.max() > 7).astype(jnp.int32), [jnp.sin, jnp.cos, jnp.tan], x
      ),
      jax.lax.scan(lambda c, e: (c + e, c * e), x[:, 0], x.swapaxes(0, 1))[1],
      jnp.einsum("bij,bkj->bik", x, x),
      jnp.flip(x, axis=2),
      jnp.take_along_axis(x, x[:, :1, :1].astype(jnp.int32) % 3, axis=1),
    ]

  for want, result in zip(*_outputs(function, x)):
    np.testing.assert_allclose(result, want, rtol=1e-6)


def test_what_has_no_counterpart_gets_one_sentence(tmp_path):
  network = step_cases.network("gru")
  variables = jax.jit(network.init)(jax.random.key(0), np.zeros((1, 2, 3)))
  element = jax.ShapeDtypeStruct((3,), np.float32)
  step = step_program.of_network(network, variables, element)

  def compute(arrays, states):
    outputs, states = step.compute(arrays, states)
    return {"outputs": jnp.sort(outputs["outputs"])}, states

  path = tmp_path / "gru.onnx"
  with pytest.raises(ValueError, match="expected 'jax' .*sort: has no"):
    step_program.save(path, step._replace(compute=compute), "onnx")
  assert not path.exists()
  with pytest.raises(ValueError, match="platforms: got .*None for format"):
    step_program.save(path, step, "onnx", platforms=["cpu"])


def test_bfloat16_gets_one_sentence(tmp_path):
  network = step_cases.network("gru", dtype="bfloat16")
  variables = jax.jit(network.init)(
    jax.random.key(0), np.zeros((1, 2, 3), np.float32)
  )
  element = jax.ShapeDtypeStruct((3,), np.float32)
  step = step_program.of_network(network, variables, element)
  with pytest.raises(ValueError, match="expected 'jax' .*: bfloat16: has no"):
    step_program.save(tmp_path / "gru.onnx", step, "onnx")
