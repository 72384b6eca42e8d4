"""Peers in JAX: `jla`'s kernels, cuDNN's attention and LSTM.

Their interfaces are those of jax-linear-attention 0.1.0 and jax 0.11.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerators import measuring
from benchmarks.accelerators import problems


class Peer(NamedTuple):
  """One implementation.

  Attributes:
    name: what tables call it.
    op: the recurrence, as in `recurrences.OPS`.
    modules: what it needs.
    call: from our arguments and the platform to a `Call`.
    resets: whether it takes our resets; it runs without them if not.
    same: whether it computes the same; another recurrence of the same size if
      not, whose numbers are not compared.
    remark: what a reader should know.
  """

  name: str
  op: str
  modules: tuple[str, ...]
  call: Callable[..., "Call"]
  resets: bool = False
  same: bool = True
  remark: str = ""


class Call(NamedTuple):
  """What is timed: layouts are changed before and after.

  Attributes:
    inputs: arrays that gradients are taken of.
    run: from these to the outputs.
    output: from the outputs to ours, in NumPy.
  """

  inputs: tuple
  run: Callable[..., Any]
  output: Callable[[Any], np.ndarray]


def prepare(peer: Peer, problem: problems.Problem, platform: str) -> Call:
  """Returns what a peer runs for a problem."""
  return peer.call(problem.arguments(), dict(problem.sizes), platform)


def timed(call: Call, kind: str) -> measuring.Timing:
  """Times a call, as `problems.Problem.function` does ours."""

  def loss(*inputs):
    return jnp.sum(jnp.square(call.run(*inputs).astype(jnp.float32)))

  names = tuple(range(len(call.inputs)))
  gradient = jax.value_and_grad(loss, names)
  function = {"forward": call.run, "gradient": gradient}[kind]
  run = measuring.compiled(function, *call.inputs).run
  return measuring.timed(run, [call.inputs])


def _linear_attention(kind, named, platform, *inputs, **options):
  """The function of `jla`, its kernels on a GPU and its XLA form elsewhere."""
  from jla import ops

  impl = "mosaic_gpu" if platform == "gpu" else "chunked"

  def run(q, k, v, *gates):
    inputs = dict(zip(named, gates)) | options
    return ops.linear_attention(kind, q, k, v, impl=impl, **inputs)[0]

  return Call(inputs, jax.jit(run), np.asarray)


def _segments(reset):
  """A number for each episode or document."""
  return jnp.cumsum(reset, axis=1, dtype=jnp.int32)


def _selective(given, sizes, platform):
  return _linear_attention(
    "mamba1",
    ("dt", "a", "d"),
    platform,
    *(given[name] for name in ("C", "B", "x", "delta", "A", "D")),
    segment_ids=_segments(given["reset"]),
  )


def _ssd(given, sizes, platform):
  q, k = given["q"], given["k"]
  if platform != "gpu":
    # Heads that share keys are the kernels', not the XLA form's.
    q, k = (jnp.repeat(x, sizes["H"], axis=2) for x in (q, k))
  return _linear_attention(
    "simple_gla",
    ("g",),
    platform,
    q,
    k,
    given["v"],
    given["decay"][..., 0],
    scale=1.0,
    segment_ids=_segments(given["reset"]),
  )


def _gla(given, sizes, platform):
  return _linear_attention(
    "gla",
    ("g",),
    platform,
    *(given[name] for name in ("q", "k", "v", "decay")),
    scale=1.0,
    segment_ids=_segments(given["reset"]),
  )


def _window(given, sizes, platform):
  implementation = "cudnn" if platform == "gpu" else "xla"

  def run(q, k, v):
    return jax.nn.dot_product_attention(
      q,
      k,
      v,
      is_causal=True,
      local_window_size=(sizes["window"], 0),
      implementation=implementation,
    )

  inputs = tuple(given[name] for name in "qkv")
  return Call(inputs, jax.jit(run), np.asarray)


def _lstm(given, sizes, platform):
  from jax.experimental import rnn

  width = sizes["H"]
  # Gates first, and the output of a product before its input.
  W, R = given["W"].transpose(1, 2, 0), given["R"][0].transpose(1, 2, 0)
  b = given["b"]
  parts = W, R, b, jnp.zeros_like(b)
  weights = jnp.concatenate([part.reshape(-1) for part in parts])
  x = given["x"].swapaxes(0, 1)
  rows, length, _ = x.shape
  start = jnp.zeros((1, rows, width))
  lengths = jnp.full((rows,), length, jnp.int32)

  def run(x, weights):
    return rnn.lstm(
      x, start, start, weights, lengths, width, width, 1, 0.0, False
    )[0]

  def output(y):
    return np.asarray(y).swapaxes(0, 1)[:, None]

  return Call((x, weights), jax.jit(run), output)


_JLA = ("jla.ops",)
PEERS = (
  Peer("jla", "selective", _JLA, _selective, resets=True),
  Peer("jla", "ssd", _JLA, _ssd, resets=True),
  Peer("jla", "gla", _JLA, _gla, resets=True),
  Peer("jax cuDNN", "window", (), _window, remark="no resets"),
  Peer(
    "jax cuDNN",
    "lstm",
    ("jax.experimental.rnn",),
    _lstm,
    remark="no resets",
  ),
)
