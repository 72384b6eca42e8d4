"""Golden weights of PyTorch networks as parameters of this library.

The golden arrays are NCHW and OIHW; a dense layer is [out, in], and what feeds
the first dense layer was flattened as (channels, height, width).
"""

import numpy as np


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
  for j, name in enumerate(HEAD):
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
  return {"w": weight.transpose(2, 3, 1, 0), "b": bias}


def rows(x, latent):
  """Reorders the last axis, a flattened latent, from CHW to HWC.

  `latent` is (height, width, channels).
  """
  height, width, channels = latent
  x = x.reshape(*x.shape[:-1], channels, height, width)
  return images(x).reshape(*x.shape[:-3], -1)


def dense(weight, latent=None):
  return (weight if latent is None else rows(weight, latent)).T


def noisy(arrays, latent=None):
  """A noisy layer from w_mu, w_sigma, b_mu and b_sigma."""
  w_mu, w_sigma, b_mu, b_sigma = arrays
  return {
    "w": dense(w_mu, latent),
    "b": b_mu,
    "w_sigma": dense(w_sigma, latent),
    "b_sigma": b_sigma,
  }


def encoder(tensors, prefix):
  """The three convolutions of a state dict."""
  params = {}
  for i, n in enumerate((0, 2, 4)):
    name = f"{prefix}{n}"
    params[f"conv_{i}"] = conv(
      tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    )
  return params


def transition(tensors, prefix):
  params = {
    name: conv(
      tensors[f"{prefix}{n}.net.0.weight"], tensors[f"{prefix}{n}.net.0.bias"]
    )
    for name, n in (("conv_in", 0), ("conv_out", 3))
  }
  if f"{prefix}2.weight" in tensors:
    params["norm"] = {
      "scale": tensors[f"{prefix}2.weight"],
      "bias": tensors[f"{prefix}2.bias"],
    }
  return params


# Names of the head's layers in a state dict, and whether latents feed them; in
# the order in which the golden updates draw their noise.
HEAD = {
  "advantage_hidden": ("head.advantage_hidden.1", True),
  "advantage_out": ("head.advantage_out", False),
  "value_hidden": ("head.value.1", True),
  "value_out": ("head.value.3", False),
}
_PARTS = ("weight_mu", "weight_sigma", "bias_mu", "bias_sigma")


def network(tensors, latent):
  """All parameters of an agent from its state dict."""
  head = {
    name: noisy(
      [tensors[f"{prefix}.{part}"] for part in _PARTS], latent if fed else None
    )
    for name, (prefix, fed) in HEAD.items()
  }
  head["advantage_bias"] = tensors["head.advantage_bias"]
  final = "global_final_classifier.0"
  return {
    "encoder": encoder(tensors, "conv.conv."),
    "head": head,
    "transition": transition(tensors, "dynamics_model.network."),
    "predictor": {
      "w": dense(tensors[f"{final}.weight"]),
      "b": tensors[f"{final}.bias"],
    },
  }


def momentum(tensors, latent):
  """The momentum copies; the projection has no noise, so no sigmas."""
  head = {}
  for name in ("value_hidden", "advantage_hidden"):
    prefix = f"spr_target_{name}"
    head[name] = {
      "w": dense(tensors[f"{prefix}.weight_mu"], latent),
      "b": tensors[f"{prefix}.bias_mu"],
    }
  return {"encoder": encoder(tensors, "target_encoder.conv."), "head": head}


def torch_conv(w):
  return np.asarray(w).transpose(3, 2, 0, 1)


def torch_dense(w, latent=None):
  w = np.asarray(w).T
  if latent is None:
    return w
  w = np.moveaxis(w.reshape(w.shape[0], *latent), -1, 1)
  return w.reshape(w.shape[0], -1)


def state_dict(params, latent):
  """The inverse of `network`, of whatever parts there are; in their order."""
  out = {}
  for i, n in enumerate((0, 2, 4)):
    layer = params["encoder"][f"conv_{i}"]
    out[f"conv.conv.{n}.weight"] = torch_conv(layer["w"])
    out[f"conv.conv.{n}.bias"] = np.asarray(layer["b"])
  if "advantage_bias" in params["head"]:
    out["head.advantage_bias"] = np.asarray(params["head"]["advantage_bias"])
  for name, (prefix, fed) in HEAD.items():
    if name in params["head"]:
      layer = params["head"][name]
      for part, leaf in zip(_PARTS, ("w", "w_sigma", "b", "b_sigma")):
        if leaf in layer:
          value = np.asarray(layer[leaf])
          if leaf.startswith("w"):
            value = torch_dense(value, latent if fed else None)
          out[f"{prefix}.{part}"] = value
  if "transition" in params:
    for name, n in (("conv_in", 0), ("conv_out", 3)):
      prefix = f"dynamics_model.network.{n}.net.0"
      out[f"{prefix}.weight"] = torch_conv(params["transition"][name]["w"])
      out[f"{prefix}.bias"] = np.asarray(params["transition"][name]["b"])
    norm = params["transition"]["norm"]
    out["dynamics_model.network.2.weight"] = np.asarray(norm["scale"])
    out["dynamics_model.network.2.bias"] = np.asarray(norm["bias"])
  if "predictor" in params:
    final = "global_final_classifier.0"
    out[f"{final}.weight"] = torch_dense(params["predictor"]["w"])
    out[f"{final}.bias"] = np.asarray(params["predictor"]["b"])
  return out
