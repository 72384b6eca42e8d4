"""Predictors of the active neurons of streamed feed-forwards.

    network, variables = streamed.load("model.rows", "2GB")
    predictors = row_predictors.fit(network, variables, tokens, rank=64)
    row_predictors.save("model.predictors", predictors)
    predictors = row_predictors.load("model.predictors")
    network, variables = streamed.load(
      "model.rows", "2GB", predictors=predictors
    )

A predictor is a low-rank guess of the sign of every neuron (arXiv:2312.11514,
section 3.1), trained like the paper's with a loss that weights active and
inactive neurons equally. A neuron that it misses is left out of the sum: the
network's outputs change, and the change has to be measured.
"""

from collections.abc import Mapping
import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import validate
from jaxseq.interop import _row_products
from jaxseq.interop import described_file
from jaxseq.interop import streamed
from jaxseq.types import Network
from jaxseq.types import PyTree

_EPSILON = 1e-4
_BATCH = 256


def exact(variables: Mapping[str, PyTree]) -> dict[str, streamed.Predictor]:
  """Returns predictors of full rank, which find every active neuron.

  They contain all input weights of the neurons, so that only reads of output
  weights are saved: for comparisons.

  Args:
    variables: from `streamed.load`.
  """
  predictors = {}
  for path, layer in _sparse(variables).items():
    n = layer.source.d_model
    into = np.concatenate([rows[:, :n] for _, rows in layer.all_rows()])
    into = np.ascontiguousarray(into.T.astype(np.float32))
    predictors[path] = streamed.Predictor(np.eye(n, dtype=np.float32), into)
  return predictors


def fit(
  network: Network,
  variables: Mapping[str, PyTree],
  tokens: np.ndarray,
  rank: int,
  *,
  steps: int = 1000,
  learning_rate: float = 1e-3,
  threshold: float = 0.0,
  seed: int = 0,
) -> dict[str, streamed.Predictor]:
  """Fits predictors to the inputs of feed-forwards on texts.

  Starts from the factors of this rank with the least mean squared error of the
  neurons' inputs. The inputs of all feed-forwards on the texts, and one
  feed-forward's weights, are in memory.

  Args:
    network: a network of tokens.
    variables: from `streamed.load`, without predictors.
    tokens: (*batch, time) integers.
    rank: rank of the predictors, at least 1.
    steps: number of training steps, each on 256 tokens; 0 for no training.
    learning_rate: learning rate of Adam.
    threshold: threshold of the scores, see `Predictor`.
    seed: seed of the batches.

  Raises:
    ValueError: if no feed-forward has inactive neurons.
  """
  validate.positive("rank", rank)
  validate.integer("steps", steps, 0)
  layers = _sparse(variables)
  for layer in layers.values():
    layer.inputs = []
  try:
    jax.block_until_ready(jax.jit(network.apply)(variables, tokens))
    inputs = {path: np.concatenate(x.inputs) for path, x in layers.items()}
  finally:
    for layer in layers.values():
      layer.inputs = None
  predictors = {}
  whole = exact(variables)
  for path, layer in layers.items():
    into = whole.pop(path).W_out
    bias = layer.source.biases.get("in", np.zeros(into.shape[1], np.float32))
    factors = _nearest(inputs[path], into, min(rank, len(into)))
    if steps:
      arguments = inputs[path], into, bias, factors, steps, learning_rate
      factors = _train(*arguments, jax.random.key(seed))
    factors = map(np.asarray, factors)
    predictors[path] = streamed.Predictor(*factors, threshold)
  return predictors


def _sparse(variables):
  """Returns the streamed feed-forwards that can have inactive neurons."""
  layers = streamed.layers(variables)
  found = {
    path: layer
    for path, layer in layers.items()
    if layer.source.kind in _row_products.SPARSE
  }
  if not found:
    kinds = sorted({layer.source.kind for layer in layers.values()})
    got = ", ".join(kinds) or "no streamed feed-forward"
    expected = f"those of {' or '.join(_row_products.SPARSE)}, from "
    raise validate.error("variables", got, expected + "streamed.load")
  return found


def _nearest(x, into, rank):
  """Returns factors that minimize the mean of |x into - x W_in W_out|^2."""
  moment = x.T.astype(np.float64) @ x / len(x)
  values, vectors = np.linalg.eigh(moment)
  roots = np.sqrt(np.maximum(values, _EPSILON * values[-1]))
  left, sizes, right = np.linalg.svd(
    (roots[:, None] * vectors.T) @ into, full_matrices=False
  )
  W_in = vectors / roots @ left[:, :rank]
  W_out = sizes[:rank, None] * right[:rank]
  return W_in.astype(np.float32), W_out.astype(np.float32)


@functools.partial(jax.jit, static_argnums=4)
def _train(x, into, bias, factors, steps, learning_rate, key):
  """Trains factors by the balanced cross-entropy of active neurons."""
  optimizer = optax.adam(learning_rate)

  def loss(factors, x):
    active = x @ into + bias > 0
    scores = x @ factors[0] @ factors[1] + bias
    costs = optax.sigmoid_binary_cross_entropy(scores, active)
    share = jnp.clip(jnp.mean(active), 1e-3, 1 - 1e-3)
    return jnp.mean(costs * jnp.where(active, 0.5 / share, 0.5 / (1 - share)))

  def step(carry, key):
    factors, state = carry
    batch = x[jax.random.randint(key, (_BATCH,), 0, x.shape[0])]
    updates, state = optimizer.update(jax.grad(loss)(factors, batch), state)
    return (optax.apply_updates(factors, updates), state), None

  carry = factors, optimizer.init(factors)
  return jax.lax.scan(step, carry, jax.random.split(key, steps))[0][0]


def save(
  path: str | os.PathLike, predictors: Mapping[str, streamed.Predictor]
) -> None:
  """Writes predictors to a file, replacing an existing one.

  Args:
    path: the file.
    predictors: predictors by the paths of their feed-forwards.

  Raises:
    OSError: if the file cannot be written.
  """
  thresholds = {name: float(x.threshold) for name, x in predictors.items()}
  tree = {
    name: {"W_in": x.W_in, "W_out": x.W_out} for name, x in predictors.items()
  }
  described_file.save(path, KIND, {"thresholds": thresholds}, tree)


def load(path: str | os.PathLike) -> dict[str, streamed.Predictor]:
  """Reads predictors written by `save`.

  Args:
    path: the file.

  Raises:
    ValueError: if the file is not of predictors, or is damaged.
    FileNotFoundError: if there is no such file.
  """
  return described_file.load(path, KIND)


def _decode(contents):
  """Returns the predictors by path."""
  thresholds = contents.described["thresholds"]
  validate.instance("thresholds", thresholds, dict, "an object")
  predictors, tensors = {}, dict(contents.tensors)
  for name, threshold in thresholds.items():
    validate.number(f"thresholds: {name[:80]}", threshold)
    factors = []
    for factor in ("W_in", "W_out"):
      array = tensors.pop(f"{name}/{factor}", None)
      if array is None or array.dtype != np.float32 or array.ndim != 2:
        got = None if array is None else f"{array.dtype} {array.shape}"
        expected = "a float32 array of two axes"
        raise validate.error(f"{name[:80]}/{factor}", got, expected)
      factors.append(array)
    predictors[name] = streamed.Predictor(*factors, threshold)
  for name in tensors:
    raise validate.error("tensors", name[:80], "W_in and W_out of each path")
  return predictors


KIND = described_file.Kind(
  "file of predictors", "row_predictors.save", ("thresholds",), _decode
)
