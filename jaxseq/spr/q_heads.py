"""The head: values of all actions from a latent, and SPR's projection.

Dueling (Wang et al., arXiv:1511.06581), noisy (Fortunato et al.,
arXiv:1706.10295, factorized Gaussian noise) and categorical (Bellemare et al.,
arXiv:1707.06887, C51), each of which can be left out. SPR (arXiv:2007.05929)
compares latents behind the head's own hidden layers, without noise and without
the ReLU.
"""

import dataclasses
import math
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl import layers
from jaxseq.rl.losses import td

Array = jax.Array
Params = dict[str, dict]


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of a head; the defaults are those of SPR's code.

  Attributes:
    num_actions: number of actions.
    features: elements of a latent: height * width * channels.
    hidden: width of each hidden layer.
    streams: "separate": value and advantage have hidden layers of their own;
      "shared": they share one.
    dueling: whether there is a value stream beside that of the advantages,
      whose mean over the actions is then subtracted.
    noisy: whether weights carry noise.
    atoms: of the distribution of returns; None for their expectation alone.
    v_min: lowest return of the distribution.
    v_max: highest return of the distribution.
    advantage_bias: whether one more bias is added to the advantages of every
      action. In a dueling head the subtraction of the mean takes it out again.
    gradient_scale: factor on the gradient that enters the latent; that through
      the projection is not scaled.
    sigma: initial scale of the noise, times sqrt(in).
    bias_sigma: "out": the noise of biases starts at sigma / sqrt(out); "in":
      at sigma / sqrt(in).
    initializer: of the weights; noisy layers have biases within 1 / sqrt(in)
      in either case.
  """

  num_actions: int
  features: int
  hidden: int = 256
  streams: Literal["separate", "shared"] = "separate"
  dueling: bool = True
  noisy: bool = True
  atoms: int | None = 51
  v_min: float = -10.0
  v_max: float = 10.0
  advantage_bias: bool = True
  gradient_scale: float = 2**-0.5
  sigma: float = 0.5
  bias_sigma: Literal["out", "in"] = "out"
  initializer: layers.Initializer = "pytorch"

  def __post_init__(self):
    validate.fields(self, positive=("num_actions", "features", "hidden"))
    validate.literals(self)
    if self.atoms is not None:
      validate.integer("atoms", self.atoms, 2)
    if not self.v_min < self.v_max:
      raise validate.error(
        "v_min", self.v_min, f"a number below v_max = {self.v_max}"
      )

  @property
  def hidden_layers(self) -> tuple[str, ...]:
    """Names of the hidden layers, in the order of the projection."""
    if self.streams == "shared":
      return ("hidden",)
    if not self.dueling:
      return ("advantage_hidden",)
    return ("value_hidden", "advantage_hidden")

  @property
  def projection_width(self) -> int:
    """Elements of a projected latent."""
    return self.hidden * len(self.hidden_layers)

  @property
  def sizes(self) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of all layers, by name."""
    atoms = self.atoms or 1
    sizes = dict.fromkeys(self.hidden_layers, (self.features, self.hidden))
    sizes["advantage_out"] = (self.hidden, self.num_actions * atoms)
    if self.dueling:
      sizes["value_out"] = (self.hidden, atoms)
    return sizes


class Noise(NamedTuple):
  """Noise of a layer: that of its weight is their outer product.

  Attributes:
    inputs: (in,).
    outputs: (out,), which is the noise of the bias, too.
  """

  inputs: Array
  outputs: Array


# By the names of layers; None where there is none.
Noises = dict[str, Noise] | None


def init(key: Array, config: Config) -> Params:
  """Draws the parameters.

  Returns:
    A dict from the names in `config.sizes` to layers: "w" (in, out), "b"
    (out,) and, if noisy, "w_sigma" and "b_sigma" like them; all float32. The
    inputs of hidden layers are latents flattened as (height, width, channels);
    the outputs of "advantage_out" are (num_actions, atoms), flattened. With
    advantage_bias also "advantage_bias": (atoms,), zeros.
  """
  sizes = config.sizes
  params: Params = {}
  keys = jax.random.split(key, 2 * len(sizes))
  for i, (name, shape) in enumerate(sizes.items()):
    params[name] = layers.init(keys[2 * i], shape, config.initializer)
    if config.noisy:
      bound, outputs = 1 / math.sqrt(shape[0]), shape[1:]
      fan = shape[1] if config.bias_sigma == "out" else shape[0]
      b_sigma = config.sigma / math.sqrt(fan)
      params[name] |= {
        "b": jax.random.uniform(
          keys[2 * i + 1], outputs, jnp.float32, -bound, bound
        ),
        "w_sigma": jnp.full(shape, config.sigma * bound, jnp.float32),
        "b_sigma": jnp.full(outputs, b_sigma, jnp.float32),
      }
  if config.advantage_bias:
    params["advantage_bias"] = jnp.zeros((config.atoms or 1,), jnp.float32)
  return params


def draw_noise(key: Array, config: Config) -> Noises:
  """Draws noise for all layers; None if the head is not noisy."""
  if not config.noisy:
    return None
  noise = {}
  keys = jax.random.split(key, len(config.sizes))
  for key, (name, (inputs, outputs)) in zip(keys, config.sizes.items()):
    key_in, key_out = jax.random.split(key)
    noise[name] = scale_noise(
      jax.random.normal(key_in, (inputs,), jnp.float32),
      jax.random.normal(key_out, (outputs,), jnp.float32),
    )
  return noise


def scale_noise(inputs: Array, outputs: Array) -> Noise:
  """Returns noise from standard normals: sign(x) sqrt(|x|) of each."""
  pair = inputs, outputs
  return Noise(*(jnp.sign(x) * jnp.sqrt(jnp.abs(x)) for x in pair))


def apply(
  config: Config,
  params: Params,
  latent: Array,
  noise: Noises = None,
) -> Array:
  """Returns the distributions of returns, or the values, of all actions.

  From latents (*batch, height, width, channels) with `features` elements to
  logits (*batch, num_actions, atoms); to values (*batch, num_actions) without
  atoms. The noise, from `draw_noise`, is the same for the whole batch.

  Raises:
    ValueError: if the latents have another size, or there is noise for a head
      that is not noisy.
  """
  if noise is not None and not config.noisy:
    raise validate.error("noise", "noise", "None: the head is not noisy")
  x = scale_gradient(_flatten(config, latent), config.gradient_scale)
  noise = noise or {}

  def layer(name, x):
    return layers.dense(_perturb(params[name], noise.get(name)), x)

  hidden = [jax.nn.relu(layer(name, x)) for name in config.hidden_layers]
  y = layer("advantage_out", hidden[-1])
  y = y.reshape(*y.shape[:-1], config.num_actions, config.atoms or 1)
  if config.advantage_bias:
    y = y + params["advantage_bias"]
  if config.dueling:
    value = layer("value_out", hidden[0])
    y = td.dueling(value[..., None, :], y, axis=-2)
  return y if config.atoms is not None else y[..., 0]


def action_values(config: Config, outputs: Array) -> Array:
  """Returns the values (*batch, num_actions) of what `apply` returned."""
  if config.atoms is None:
    return outputs
  z = jnp.linspace(
    config.v_min, config.v_max, config.atoms, dtype=outputs.dtype
  )
  return jax.nn.softmax(outputs, axis=-1) @ z


def project(config: Config, params: Params, latent: Array) -> Array:
  """Projects latents as in `apply`: the hidden layers without noise or ReLU.

  The gradient is not scaled. `projection_params` are enough. The result is
  (*batch, projection_width): value stream first, then advantages.

  Raises:
    ValueError: if the latents have another size.
  """
  x = _flatten(config, latent)
  parts = [layers.dense(params[name], x) for name in config.hidden_layers]
  return jnp.concatenate(parts, axis=-1)


def projection_params(config: Config, params: Params) -> Params:
  """Returns the part of the parameters that `project` needs."""
  return {
    name: {"w": params[name]["w"], "b": params[name]["b"]}
    for name in config.hidden_layers
  }


def scale_gradient(x: Array, scale: float) -> Array:
  """Returns x, of any shape; its gradient is multiplied by a factor."""
  return jax.custom_gradient(lambda x: (x, lambda ct: scale * ct))(x)


def _flatten(config, latent):
  """Joins height, width and channels of latents."""
  x = latent.reshape(*latent.shape[:-3], -1)
  if latent.ndim < 3 or x.shape[-1] != config.features:
    raise validate.error(
      "latent",
      f"shape {latent.shape}",
      "shape (*batch, height, width, channels) with"
      f" {config.features} elements each",
    )
  return x


def _perturb(layer, noise):
  """Returns the layer with its noise on."""
  if noise is None:
    return layer
  outer = noise.inputs[:, None] * noise.outputs
  return {
    "w": layer["w"] + layer["w_sigma"] * outer,
    "b": layer["b"] + layer["b_sigma"] * noise.outputs,
  }
