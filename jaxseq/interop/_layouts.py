"""Tensor layouts of convolutional networks, in Flax and in PyTorch."""

import numpy as np

Latent = tuple[int, int, int]


def reorder(x: np.ndarray, latent: Latent) -> np.ndarray:
  """Reorders latents, flattened in the last axis, from PyTorch's CHW to HWC."""
  height, width, channels = latent
  x = x.reshape(*x.shape[:-1], channels, height, width)
  return np.moveaxis(x, -3, -1).reshape(*x.shape[:-3], -1)


def restore(x: np.ndarray, latent: Latent) -> np.ndarray:
  """Undoes `reorder`."""
  x = x.reshape(*x.shape[:-1], *latent)
  return np.moveaxis(x, -1, -3).reshape(*x.shape[:-3], -1)


def from_torch(tensor: np.ndarray, latent: Latent | None = None) -> np.ndarray:
  """Converts a convolution (OIHW), dense layer or vector to Flax's layout."""
  # `latent` is given if the inputs of a dense layer are a flattened one.
  if tensor.ndim == 4:
    return tensor.transpose(2, 3, 1, 0)
  return (tensor if latent is None else reorder(tensor, latent)).T


def to_torch(array: np.ndarray, latent: Latent | None = None) -> np.ndarray:
  """Undoes `from_torch`."""
  if array.ndim == 4:
    return array.transpose(3, 2, 0, 1)
  return array.T if latent is None else restore(array.T, latent)
