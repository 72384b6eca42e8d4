"""Drawing of images from `nn.picture_network.PictureNetwork`.

    model = jaxseq.load("runs/digits/s5/model.safetensors")
    drawn = picture_drawing.draw(model.network, model.variables, key, 16)
    drawn.pictures  # (16, height, width) in 0 .. 1

Symbols of one scale are drawn step by step; with several scales, all of a scale
in parallel, so that there are as many calls of the network as scales.
"""

import dataclasses
import functools
from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.generation import token_sampling
from jaxseq.nn import picture_network
from jaxseq.types import PyTree

# The options of sampling that images support.
SAMPLING = ("temperature", "top_k", "top_p", "min_p")


class Drawn(NamedTuple):
  """Images, and the symbols that they were decoded from.

  Attributes:
    pictures: (n, height, width) in 0 .. 1.
    symbols: (n, time) int32.
    inputs: (n, time, features), the inputs of the stack; without guidance.
  """

  pictures: jax.Array
  symbols: jax.Array
  inputs: jax.Array


def draw(
  network: picture_network.PictureNetwork,
  variables: PyTree,
  key: jax.Array,
  count: int,
  *,
  labels: Any = None,
  guidance: float = 0.0,
  sampling: token_sampling.Sampling | None = None,
) -> Drawn:
  """Draws images.

  Args:
    network: network of images.
    variables: variables of the network, with the codec's if there is one.
    key: random key.
    count: number of images.
    labels: (count,) classes, -1 for any; of any class if None.
    guidance: t of the logits (1 + t) l - t l', with l' those of any class; with
      several scales it grows from 0 at the first to t at the last one.
    sampling: how symbols are drawn; by their probabilities if None.

  Raises:
    ValueError: if `check_sampling` rejects the sampling, there are labels or
      guidance and the network has no classes, or labels are out of range.
  """
  sampling = check_sampling(sampling or token_sampling.Sampling())
  validate.integer("count", count, 1)
  validate.number("guidance", guidance, 0)
  if not network.classes and (labels is not None or guidance):
    name = "labels" if labels is not None else "guidance"
    raise validate.error(name, "some", "none, as the network has no classes")
  labels = np.full(count, -1) if labels is None else np.asarray(labels)
  validate.shape("labels", labels, (count,))
  if labels.dtype.kind not in "iu":
    raise validate.error("labels", f"dtype {labels.dtype}", "integers")
  wrong = (labels < -1) | (labels >= max(network.classes, 1))
  if wrong.any():
    expected = f"-1, for any, to {network.classes - 1}"
    raise validate.error("labels", int(labels[wrong][0]), expected)
  controls = token_sampling.make_controls(sampling, network.num_symbols)
  return _drawn(
    network, bool(guidance), variables, key, labels, guidance, controls
  )


def check_sampling(
  sampling: token_sampling.Sampling,
) -> token_sampling.Sampling:
  """Returns the options of sampling of an image.

  Raises:
    ValueError: if an option is set that does not apply to images, whose symbols
      are as many as there are places: penalties, lengths and ends.
  """
  plain = token_sampling.Sampling()
  for field in dataclasses.fields(sampling):
    value, default = (getattr(x, field.name) for x in (sampling, plain))
    if field.name not in SAMPLING and value != default:
      expected = f"{default}: it says nothing of pictures"
      raise validate.error(f"sampling.{field.name}", value, expected)
  return sampling


@functools.partial(jax.jit, static_argnums=(0, 1))
def _drawn(network, guided, variables, key, labels, guidance, controls):
  """Compiled part of `draw`."""

  def call(method, *arguments):
    return network.apply(variables, *arguments, method=method)

  count = len(labels)
  if guided:
    labels = jnp.concatenate([labels, jnp.full_like(labels, -1)])

  def both(x):
    return jnp.concatenate([x, x]) if guided else x

  def chosen(key, logits, strength):
    if guided:
      logits = (1 + strength) * logits[:count] - strength * logits[count:]
    logits = token_sampling.process_logits(logits, controls)
    return token_sampling.draw(key, logits, controls.temperature)

  if network.scales > 1:
    scales = network.codec.scales
    shape = count, scales.sizes[-1], scales.sizes[-1], scales.width
    states, total, symbols, read = None, jnp.zeros(shape), [], []
    for scale in range(network.scales):
      x = call("inputs_of", both(total), labels, scale)
      logits, states = call(
        lambda network, x=x, states=states, scale=scale: network.core(
          x, states, options=network.mixer_options(scale)
        )
      )
      ratio = scale / (network.scales - 1)
      drawn = chosen(jax.random.fold_in(key, scale), logits, guidance * ratio)
      total += call(
        lambda network, drawn=drawn, scale=scale: network.coded(
          lambda codec: codec.quantizer.contribution(drawn, scale)
        )
      )
      symbols.append(drawn)
      read.append(x[:count])
    symbols = jnp.concatenate(symbols, axis=-1)
    read = jnp.concatenate(read, axis=-2)
  else:

    def step(carry, at):
      symbols, states = carry
      x = call("inputs_at", both(symbols), labels, at)
      logits, states = call(lambda network: network.core.step(x, states))
      drawn = chosen(jax.random.fold_in(key, at), logits, guidance)
      return (symbols.at[:, at].set(drawn), states), x[:count]

    start = jnp.zeros((count, network.time), jnp.int32)
    states = call(lambda network: network.core.initial_state(labels.shape))
    (symbols, _), read = lax.scan(
      step, (start, states), jnp.arange(network.time)
    )
    read = jnp.moveaxis(read, 0, 1)
  return Drawn(call("pictures", symbols), symbols, read)
