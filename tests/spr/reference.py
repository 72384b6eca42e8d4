"""Golden arrays of SPR's PyTorch code in the layouts and names of this library.

The golden files have names of their own for single layers.
"""

import numpy as np

from jaxseq.interop import _layouts
from jaxseq.interop import spr as weights

rows = _layouts.reorder
dense = _layouts.from_torch
network = weights.params
state_dict = weights.state_dict

# In the order in which the golden updates draw the layers' noise.
NOISY = ("advantage_hidden", "advantage_out", "value_hidden", "value_out")


def tensors(arrays, kind, shapes):
  """The parameters of a golden update, which are kept as seeds."""
  out = {}
  for name, shape, seed, scale, offset in zip(
    arrays[f"{kind}_names"],
    arrays[shapes],
    *(arrays[f"{kind}_{part}"] for part in ("seed", "scale", "offset")),
  ):
    # The golden file is defined by numpy's old generator.
    generator = np.random.RandomState(seed)
    shape = [int(size) for size in str(shape).split("x")]
    out[str(name)] = generator.standard_normal(shape) * scale + offset
  return out


def normals(seed, sizes):
  """What the noise of a golden update is made of.

  `sizes` are the numbers of inputs and outputs of each noisy layer.
  """
  out = {}
  for j, name in enumerate(NOISY):
    generator = np.random.RandomState(seed + j)
    out[name] = [generator.standard_normal(size) for size in sizes[name]]
  return out


def stacks(arrays):
  """The images of a golden update, (time, batch, frames, height, width)."""
  small = arrays["images_12x12"][:, :, :, 0]
  large = small.repeat(7, axis=-2).repeat(7, axis=-1)
  np.testing.assert_array_equal(
    large.sum(axis=(2, 3, 4), dtype=np.int64), arrays["image_checksum"]
  )
  return large


def images(x):
  """Turns (..., channels, height, width) into NHWC."""
  return np.moveaxis(x, -3, -1)


def conv(weight, bias):
  return {"w": _layouts.from_torch(weight), "b": bias}


def noisy(arrays, latent=None):
  """A noisy layer from w_mu, w_sigma, b_mu and b_sigma."""
  w_mu, w_sigma, b_mu, b_sigma = arrays
  return {
    "w": dense(w_mu, latent),
    "b": b_mu,
    "w_sigma": dense(w_sigma, latent),
    "b_sigma": b_sigma,
  }


def transition(tensors, prefix):
  """The transition model alone."""
  params = {}
  for row in weights._network(dropout=False):
    name = prefix + row.name.removeprefix("dynamics_model.network.")
    if row.path[0] == "transition" and name in tensors:
      _, layer, leaf = row.path
      params.setdefault(layer, {})[leaf] = _layouts.from_torch(tensors[name])
  return params


def momentum(tensors, latent):
  """The momentum copies, whose head the golden files name otherwise."""
  for i, part in enumerate(("value_hidden", "advantage_hidden")):
    name = f"global_target_classifier.encoders.{i}"
    tensors = {
      key.replace(f"spr_target_{part}", name): tensor
      for key, tensor in tensors.items()
    }
  return weights.momentum(tensors, latent)


def torch_conv(w):
  return _layouts.to_torch(np.asarray(w))


def torch_dense(w, latent=None):
  return _layouts.to_torch(np.asarray(w), latent)
