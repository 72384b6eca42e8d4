"""Forecasts from a code: the second half of a window from the first.

The encoder sees the first half alone, the rest is zeros to it; the decoder goes
on by itself. A model can do so if it was trained for it on some of its windows,
see `problem.ArmConfig.prefix_rate`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.dts import autoencoder
from jaxseq.dts import evaluation
from jaxseq.types import PyTree


def first_half(x: jax.Array, rows: jax.Array | None = None) -> jax.Array:
  """Zeros the second half of windows (*batch, time, channels), all or some."""
  keep = jnp.arange(x.shape[-2]) < x.shape[-2] // 2
  if rows is not None:
    keep = keep | ~rows[..., None]
  return jnp.where(keep[..., None], x, 0)


def encode(vae: autoencoder.VAE, variables: PyTree, x: jax.Array) -> jax.Array:
  """Returns the means (n, D) of the codes of the first halves of windows."""
  mean = functools.partial(vae.apply, variables, method="encode")
  return evaluation.over_windows(mean, first_half(x))[0]


def forecast(
  vae: autoencoder.VAE, variables: PyTree, x: jax.Array, z: jax.Array
) -> jax.Array:
  """Decodes the second halves of windows x, (n, time - time // 2, channels)."""
  # An autoregressive decoder reads the true first half and then what it decoded
  # itself; another has the code alone.
  half = x.shape[-2] // 2
  reads = vae.config.decoder.form == "ar"

  def of_one(prompt, code):
    prompt = prompt if reads else None
    return autoencoder.generate(vae, variables, code, prompt)[half:]

  return evaluation.over_windows(of_one, x[:, :half], z)


def last_value(x: np.ndarray) -> np.ndarray:
  """Repeats the last element of the first half."""
  half = x.shape[1] // 2
  return np.repeat(x[:, half - 1 : half], x.shape[1] - half, axis=1)


def linear(train: np.ndarray, x: np.ndarray) -> np.ndarray:
  """Forecasts by a linear map of first halves, the best of other windows."""
  half = x.shape[1] // 2

  def inputs(windows):
    flat = windows[:, :half].reshape(len(windows), -1)
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)

  after = train[:, half:].reshape(len(train), -1)
  weights = np.linalg.lstsq(inputs(train), after, rcond=None)[0]
  return (inputs(x) @ weights).reshape(x[:, half:].shape)


def mse(forecasts: np.ndarray, x: np.ndarray) -> float:
  """Returns the mean squared error of forecasts of the ends of windows x."""
  true = np.asarray(x, np.float64)[:, x.shape[1] // 2 :]
  return float(np.square(np.asarray(forecasts, np.float64) - true).mean())
