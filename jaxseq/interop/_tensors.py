"""Names and layouts of the tensors of a model, here and in PyTorch."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import NamedTuple

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import nn
from jaxseq._types import PyTree


class _Layout(NamedTuple):
  """How a tensor is laid out in PyTorch, and back."""

  to_torch: Callable[[np.ndarray], np.ndarray]
  from_torch: Callable[[np.ndarray], np.ndarray]


_SAME = _Layout(lambda x: x, lambda x: x)
# torch.nn.Linear holds (out, in).
_LINEAR = _Layout(lambda x: x.T, lambda x: x.T)
# torch.nn.Conv1d holds (channels, 1, width) of a depthwise convolution.
_CONV = _Layout(lambda x: x.T[:, None], lambda x: x[:, 0].T)

_SHARED = {
  "in_proj": ("in_proj.weight", _LINEAR),
  "in_proj_bias": ("in_proj.bias", _SAME),
  "conv_weight": ("conv1d.weight", _CONV),
  "conv_bias": ("conv1d.bias", _SAME),
  "A_log": ("A_log", _SAME),
  "D": ("D", _SAME),
  "out_proj": ("out_proj.weight", _LINEAR),
  "out_proj_bias": ("out_proj.bias", _SAME),
}
_MIXERS = {
  "mamba": {
    **_SHARED,
    "x_proj": ("x_proj.weight", _LINEAR),
    "dt_proj": ("dt_proj.weight", _LINEAR),
    "dt_bias": ("dt_proj.bias", _SAME),
  },
  "mamba2": {
    **_SHARED,
    "dt_bias": ("dt_bias", _SAME),
    "norm_scale": ("norm.weight", _SAME),
  },
}


def shapes(config: nn.NetworkConfig, vocab_size: int) -> dict[str, PyTree]:
  """Returns the parameters' shapes and dtypes, as `init` would make them."""
  network = nn.SequenceNetwork(config, vocab_size, vocab_size)
  tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
  return jax.eval_shape(network.init, jax.random.key(0), tokens)["params"]


def from_torch(
  config: nn.NetworkConfig,
  vocab_size: int,
  tensors: Mapping[str, np.ndarray],
  where: str,
) -> dict[str, PyTree]:
  """Makes float32 parameters from arrays by their PyTorch names.

  Layers must not be scanned; `where` the arrays come from is for messages.
  """
  expected = traverse_util.flatten_dict(shapes(config, vocab_size))
  places = {_place(config, path): path for path in expected}
  known = {name for name, _ in places}
  for verb, names, what in (
    ("lacks", known - tensors.keys(), "asks for"),
    ("holds", tensors.keys() - known, "has no place for"),
  ):
    if names:
      raise ValueError(
        f"{where} {verb} {_some(names)}, which config.json {what}."
      )
  leaves = {}
  for (name, layout), path in places.items():
    tensor, want = tensors[name], expected[path]
    torch_shape = layout.to_torch(np.broadcast_to(0.0, want.shape)).shape
    if tensor.shape != torch_shape:
      expected_shape = f"shape {torch_shape}, by config.json"
      raise _validate.error(f"{where}: {name}", tensor.shape, expected_shape)
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
      raise ValueError(
        f"{where}: {name}: got {tensor.dtype}, expected a floating dtype."
      )
    # A copy: the tensor may be a view of a file that changes later.
    leaf = np.array(layout.from_torch(tensor), want.dtype, order="C")
    leaves[path] = jnp.asarray(leaf)
  return traverse_util.unflatten_dict(leaves)


def to_torch(
  config: nn.NetworkConfig, vocab_size: int, params: Mapping[str, PyTree]
) -> dict[str, np.ndarray]:
  """Undoes `from_torch`, in the parameters' dtypes."""
  leaves = traverse_util.flatten_dict(params)
  known = traverse_util.flatten_dict(shapes(config, vocab_size))
  expected, got = (
    {path: np.shape(leaf) for path, leaf in flat.items()}
    for flat in (known, leaves)
  )
  for path in sorted(expected.keys() | got.keys()):
    if expected.get(path) != got.get(path):
      raise ValueError(
        f"variables: got shape {got.get(path)} of {'/'.join(path)}, expected "
        f"{expected.get(path)} of a network with this config (None: absent)."
      )
  tensors = {}
  for path in expected:
    name, layout = _place(config, path)
    tensors[name] = layout.to_torch(np.asarray(leaves[path]))
  return tensors


def _place(config, path):
  """Returns the PyTorch name and the layout of the parameter at a path."""
  if path == ("embed", "embedding"):
    return "backbone.embeddings.weight", _SAME
  if path == ("head", "mlp", "dense_0", "kernel"):
    return "lm_head.weight", _LINEAR
  if path == ("stack", "final_norm", "scale"):
    return "backbone.norm_f.weight", _SAME
  layer = f"backbone.layers.{path[1].removeprefix('layers_')}"
  if path[2:] == ("norm", "scale"):
    return f"{layer}.norm.weight", _SAME
  name, layout = _MIXERS[config.stack.mixer][path[3]]
  return f"{layer}.mixer.{name}", layout


def _some(names):
  names = sorted(names)
  shown = ", ".join(names[:4])
  return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
