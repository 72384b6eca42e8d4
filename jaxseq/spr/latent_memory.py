"""A memory between encoder and head: any registered mixer over time.

    m_t = z_t + W_out y_t,  (y_t, h_t) = step(W_in z_t, h_{t-1})

z_t is the encoder's latent, flattened, and m_t what the head sees instead. It
has the shape of z_t, so that the head stays as it is; what is predicted by
self-prediction is z_t itself. Where an episode begins the state h is fresh.

Hausknecht and Stone, arXiv:1507.06527, put the first memory into a Q-network.
How it learns from replayed sequences is that of Kapturowski et al., ICLR 2019
(R2D2), see `sequence_loss`.
"""

import math

import jax

from jaxseq._types import PyTree
from jaxseq.spr import stacks

Array = jax.Array
Params = dict[str, dict]


def init(
  key: Array, config: stacks.Config, latent_shape: tuple[int, int, int]
) -> Params:
  """Draws the parameters, those of `stacks.init`.

  The latents of the encoder have shape (height, width, channels).
  """
  size = math.prod(latent_shape)
  return stacks.init(key, config, size, size)


def apply(
  config: stacks.Config,
  params: Params,
  latent: Array,
  state: PyTree,
  reset: Array | None = None,
  *,
  step: bool = False,
) -> tuple[Array, PyTree]:
  """Takes in whole sequences, or one latent of each, as `stacks.apply` does.

  From latents (*batch, time, height, width, channels) to what the head is to
  see, which is like them, and the state after the last one.
  """
  x = latent.reshape(*latent.shape[:-3], -1)
  y, state = stacks.apply(config, params, x, state, reset, step=step)
  return latent + y.reshape(latent.shape), state
