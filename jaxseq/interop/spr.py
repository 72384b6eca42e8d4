"""Weights of SPR's PyTorch code as parameters of `jaxseq.spr`, and back.

  from jaxseq.interop import spr as spr_weights

  tensors = {name: x.cpu().numpy() for name, x in model.state_dict().items()}
  params = spr_weights.params(tensors, latent=(7, 7, 64))
  params = jax.tree.map(jnp.asarray, params)

`model` is the network of github.com/mila-iqia/spr (Schwarzer et al.,
arXiv:2007.05929) as its script makes it, and `params` are those of
`agent_networks.init` for `variants.get("spr", actions)`. Nothing here needs
torch.

  PyTorch                                 our leaf
  conv.conv.0.weight  (32, F, 8, 8)       encoder/conv_0/w  (8, 8, F, 32)
  conv.conv.2.weight  (64, 32, 4, 4)      encoder/conv_1/w  (4, 4, 32, 64)
  conv.conv.4.weight  (C, 64, 3, 3)       encoder/conv_2/w  (3, 3, 64, C)
  head.advantage_bias  (Z,)               head/advantage_bias  (Z,)
  head.advantage_hidden.1.NOISY  (U, L)   head/advantage_hidden/OURS  (L, U) *
  head.advantage_out.NOISY  (A Z, U)      head/advantage_out/OURS  (U, A Z)
  head.value.1.NOISY  (U, L)              head/value_hidden/OURS  (L, U) *
  head.value.3.NOISY  (Z, U)              head/value_out/OURS  (U, Z)
  dynamics_model.network.
    0.net.0.weight  (D, C + A, 3, 3)      transition/conv_in/w  (3, 3, C + A, D)
    2.weight  (D,)                        transition/norm/scale  (D,)
    2.bias  (D,)                          transition/norm/bias  (D,)
    3.net.0.weight  (C, D, 3, 3)          transition/conv_out/w  (3, 3, D, C)
  global_final_classifier.
    0.weight  (2 U, 2 U)                  predictor/w  (2 U, 2 U), transposed

F frames, A actions, Z atoms, U hidden units, C channels of the latent, D
channels inside the transition model, L = height * width * C elements of the
latent. NOISY is weight_mu, weight_sigma, bias_mu, bias_sigma; OURS is w,
w_sigma, b, b_sigma. A weight and w without noise also have bias and b, (out,).
Other sizes work, too, except for the 3x3 windows of the transition model. With
dropout the convolutions are numbers 0, 3 and 6.

Convolutions are OIHW there and HWIO here, dense layers (out, in) there and (in,
out) here. Rows of the layers with * are also in another order: PyTorch flattens
the latent as (channels, height, width), this library as (height, width,
channels), and row i must match the same element of the latent in both.

The momentum copies, which `momentum` reads, are `target_encoder` and

  global_target_classifier.encoders.
    0.weight_mu  (U, L)                   head/value_hidden/w  (L, U) *
    1.weight_mu  (U, L)                   head/advantage_hidden/w  (L, U) *

and their bias_mu and b; they have no noise. The rest of a state dict is
ignored: second names of the head's layers (`head.network`,
`global_classifier`), drawn noise (`*_epsilon`), statistics of the batch norm,
which SPR never uses, the embedding of actions and the predictor of rewards,
which are not in its loss.
"""

import collections
from collections.abc import Iterable
from collections.abc import Mapping
import math
from typing import NamedTuple

from flax import traverse_util
import numpy as np

from jaxseq import validate
from jaxseq.interop import _layouts
from jaxseq.types import PyTree


class _Tensor(NamedTuple):
  """A tensor and its leaf."""

  name: str  # Name in PyTorch.
  path: tuple[str, ...]  # Path of the leaf here.
  axes: tuple[str, ...]  # Names of PyTorch's axes.


_NOISY = (
  ("weight_mu", "w"),
  ("weight_sigma", "w_sigma"),
  ("bias_mu", "b"),
  ("bias_sigma", "b_sigma"),
)
_PLAIN = (("weight", "w"), ("bias", "b"))
_WITHOUT_NOISE = (("weight_mu", "w"), ("bias_mu", "b"))
_MODEL = "dynamics_model.network."
_NORM = f"{_MODEL}2."
_PREDICTOR = "global_final_classifier."
_UNUSED = (
  "head.network.",
  "global_classifier.",
  "global_target_classifier.",
  "dynamics_model.action_embedding.",
  "dynamics_model.reward_predictor.",
)
_UNUSED_ENDS = (
  "_epsilon",
  ".running_mean",
  ".running_var",
  ".num_batches_tracked",
)


def params(
  tensors: Mapping[str, np.typing.ArrayLike],
  latent: tuple[int, int, int],
  *,
  dropout: bool = False,
) -> dict[str, PyTree]:
  """Returns an agent's parameters from its state dict.

  Args:
    tensors: arrays, or arguments of np.asarray, by their PyTorch names. Those
      of the transition model and of the predictor may be absent, as in an agent
      without self-prediction, and those of the norm, as with norm "none".
    latent: (height, width, channels) of the latent, see
      `encoders.latent_shape`.
    dropout: whether the encoder has dropout, as without augmentation.

  Returns:
    Copies as in the table above, in the tensors' dtypes: "encoder", "head" and,
    if present, "transition" and "predictor".

  Raises:
    ValueError: if a tensor is missing, unknown or misshapen.
  """
  predicts = any(name.startswith((_MODEL, _PREDICTOR)) for name in tensors)
  norm = any(name in tensors for name in (f"{_NORM}weight", f"{_NORM}bias"))
  table = _network(dropout, predicts=predicts, norm=norm)
  return _read(tensors, table, latent, dropout)


def momentum(
  tensors: Mapping[str, np.typing.ArrayLike],
  latent: tuple[int, int, int],
  *,
  dropout: bool = False,
) -> dict[str, PyTree]:
  """Returns the momentum copies, `learner.State.momentum`, from a state dict.

  Args:
    tensors: see `params`, and those of the copies; the others may be absent.
    latent: see `params`.
    dropout: see `params`.

  Returns:
    Copies in the tensors' dtypes: "encoder", and the hidden layers of "head"
    without sigmas.

  Raises:
    ValueError: if a tensor is missing, unknown or misshapen.
  """
  return _read(tensors, _momentum(dropout), latent, dropout)


def state_dict(
  params: Mapping[str, PyTree],
  latent: tuple[int, int, int],
  *,
  dropout: bool = False,
) -> dict[str, np.ndarray]:
  """Returns the tensors of an agent's parameters; undoes `params`.

  Args:
    params: "encoder", "head" and, with self-prediction, "transition" and
      "predictor": parameters of an agent like SPR, or trees of the same form,
      such as gradients.
    latent: (height, width, channels) of the latent.
    dropout: whether the encoder has dropout, as without augmentation.

  Returns:
    Copies by their PyTorch names, in PyTorch's order and the leaves' dtypes:
    all trained tensors. `load_state_dict(..., strict=False)` accepts them once
    they are torch tensors.

  Raises:
    ValueError: if a leaf is missing, unknown or misshapen.
  """
  flat = traverse_util.flatten_dict(params)
  leaves = {path: np.asarray(leaf) for path, leaf in flat.items()}
  predicts = "transition" in params or "predictor" in params
  norm = "norm" in params.get("transition", {})
  table = _network(dropout, predicts=predicts, norm=norm)
  places = [row.path for row in table]
  _check_names("params", leaves, places, places)
  _check_shapes(
    [
      ("/".join(row.path), leaves[row.path].shape, _our_axes(row.axes))
      for row in table
    ],
    latent,
  )
  return {
    row.name: _copy(
      _layouts.to_torch(leaves[row.path], _flattened(row, latent))
    )
    for row in table
  }


def _network(dropout, *, predicts=True, norm=True):
  """Returns the rows of an agent's trained tensors, in PyTorch's order."""
  table = [
    *_encoder("conv", dropout),
    _Tensor("head.advantage_bias", ("head", "advantage_bias"), ("atoms",)),
  ]
  for name, leaf, axes in (
    ("head.advantage_hidden.1", "advantage_hidden", ("hidden", "features")),
    ("head.advantage_out", "advantage_out", ("outputs", "hidden")),
    ("head.value.1", "value_hidden", ("hidden", "features")),
    ("head.value.3", "value_out", ("atoms", "hidden")),
  ):
    table += _layer(name, ("head", leaf), axes, _NOISY)
  if not predicts:
    return table
  square = ("window", "window")
  path = ("transition", "conv_in")
  table += _layer(f"{_MODEL}0.net.0", path, ("width", "planes", *square))
  if norm:
    for name, leaf in (("weight", "scale"), ("bias", "bias")):
      path = ("transition", "norm", leaf)
      table.append(_Tensor(f"{_NORM}{name}", path, ("width",)))
  path = ("transition", "conv_out")
  table += _layer(f"{_MODEL}3.net.0", path, ("channels", "width", *square))
  path = ("predictor",)
  return table + _layer(f"{_PREDICTOR}0", path, ("projection", "projection"))


def _momentum(dropout):
  """Returns the rows of the momentum copies."""
  table = _encoder("target_encoder", dropout)
  for i, leaf in enumerate(("value_hidden", "advantage_hidden")):
    name = f"global_target_classifier.encoders.{i}"
    axes = ("hidden", "features")
    table += _layer(name, ("head", leaf), axes, _WITHOUT_NOISE)
  return table


def _encoder(prefix, dropout):
  """Returns the rows of the convolutions, which are each 2 or 3 modules."""
  channels = ("frames", "channels_0", "channels_1", "channels")
  table = []
  for i in range(3):
    name = f"{prefix}.conv.{i * (3 if dropout else 2)}"
    axes = (channels[i + 1], channels[i], f"kernel_{i}", f"kernel_{i}")
    table += _layer(name, ("encoder", f"conv_{i}"), axes)
  return table


def _layer(name, path, axes, parts=_PLAIN):
  """Returns the rows of a layer, with the axes of its weight."""
  return [
    _Tensor(
      f"{name}.{part}",
      (*path, leaf),
      axes if leaf.startswith("w") else axes[:1],
    )
    for part, leaf in parts
  ]


def _read(tensors, table, latent, dropout):
  """Returns the parameters of a table."""
  names = {row.name for row in (*_network(dropout), *_momentum(dropout))}
  names.update(
    name
    for name in tensors
    if name.startswith(_UNUSED) or name.endswith(_UNUSED_ENDS)
  )
  _check_names("tensors", tensors, [row.name for row in table], names)
  arrays = {row.name: np.asarray(tensors[row.name]) for row in table}
  _check_shapes(
    [(row.name, arrays[row.name].shape, row.axes) for row in table], latent
  )
  leaves = {
    row.path: _copy(
      _layouts.from_torch(arrays[row.name], _flattened(row, latent))
    )
    for row in table
  }
  return traverse_util.unflatten_dict(leaves)


def _copy(array):
  # A copy, because the source may be trained on.
  return np.array(array, order="C")


def _our_axes(axes):
  return (*axes[2:], axes[1], axes[0]) if len(axes) > 1 else axes


def _flattened(row, latent):
  """Returns the latent if a row's inputs are it; else None."""
  return latent if "features" in row.axes else None


def _check_names(argument, got: Iterable, wanted: Iterable, others: Iterable):
  """Checks that no name is missing or unknown."""

  def show(names):
    name = names[0] if isinstance(names[0], str) else "/".join(names[0])
    return name if len(names) == 1 else f"{name} and {len(names) - 1} more"

  missing = [name for name in wanted if name not in got]
  if missing:
    raise ValueError(f"{argument}: got no {show(missing)}, expected it.")
  unknown = [name for name in got if name not in others]
  if unknown:
    raise ValueError(
      f"{argument}: got {show(unknown)}, expected only what SPR's network has."
    )


def _check_shapes(rows, latent):
  """Checks names with shapes and axes against each other and the latent."""
  if len(latent) != 3:
    raise validate.error("latent", latent, "(height, width, channels)")
  counts = collections.defaultdict(collections.Counter)
  for name, shape, axes in rows:
    if len(shape) != len(axes):
      raise ValueError(
        f"{name}: got the shape {shape}, expected the axes ({', '.join(axes)})."
      )
    for axis, size in zip(axes, shape):
      counts[axis][size] += 1
  # The most common sizes, so that the error names the odd one.
  sizes = {axis: count.most_common(1)[0][0] for axis, count in counts.items()}
  sizes.update(channels=latent[2], features=math.prod(latent), window=3)
  sizes["projection"] = 2 * sizes["hidden"]
  if "outputs" in sizes:
    actions = sizes["outputs"] // sizes["atoms"]
    sizes["outputs"] = actions * sizes["atoms"]
    sizes["planes"] = latent[2] + actions
  for name, shape, axes in rows:
    expected = tuple(sizes[axis] for axis in axes)
    if shape != expected:
      fits = f"to fit the others and the latent {tuple(latent)}"
      wanted = f"shape {expected}, that is ({', '.join(axes)}), {fits}"
      raise validate.error(name, shape, wanted)
