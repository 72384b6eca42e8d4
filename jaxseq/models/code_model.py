"""Models of windows as codes: disentangling auto-encoders."""

from typing import TYPE_CHECKING
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.dts import autoencoder
from jaxseq.dts import divergences
from jaxseq.dts import downstream
from jaxseq.models import predictions

if TYPE_CHECKING:
  from jaxseq.models.model import Model

NETWORK = autoencoder.VAE


def time_axis(network: autoencoder.VAE) -> None:
  """Windows have one length."""
  del network


def arguments(
  network: autoencoder.VAE, dataset: data.ArrayDataset
) -> dict[str, np.ndarray]:
  """Returns "inputs" and, where windows were padded, "lengths"."""
  del network
  arrays = {"inputs": dataset.inputs, "lengths": dataset.lengths}
  return {k: np.asarray(x) for k, x in arrays.items() if x is not None}


def compute(
  network: autoencoder.VAE, variables: Any, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns codes and the outputs that follow from them.

  Returns:
    "code" and "deviation" (n, D), mean and standard deviation of q(z|x);
    "reconstruction" (n, time, channels), decoded from the mean; and "anomaly"
    (n,), -ELBO in nats over `downstream.SAMPLES` codes, whose noise is the same
    for all windows, so that no window's depends on the others.
  """
  x, lengths = arguments["inputs"], arguments.get("lengths")
  mu, logvar = network.apply(variables, x, lengths, method="encode")
  noise = jax.random.normal(
    jax.random.key(0), (downstream.SAMPLES, mu.shape[-1]), mu.dtype
  )
  deviation = jnp.exp(0.5 * logvar)

  def of_sample(noise):
    z = mu + deviation * noise
    return network.apply(variables, x, z, lengths, method="nll")

  nll = jax.lax.map(of_sample, noise).mean(axis=0)
  return {
    "code": mu,
    "deviation": deviation,
    "reconstruction": autoencoder.generate(network, variables, mu),
    "anomaly": nll + divergences.kl(mu, logvar).sum(axis=-1),
  }


def predict(model: "Model", examples: data.Examples) -> predictions.Predictions:
  """Returns a row for each window.

  Returns:
    The columns "id", "code_0", "code_1" and so on, "anomaly_score", the higher
    the stranger, and "reconstruction_error", the mean square over the window,
    standardized as the inputs; and "target" where the examples have classes.
    `arrays` has "reconstruction" (n, time, channels), "code" and "deviation".
  """
  outputs = model.outputs(examples.dataset)
  x = np.asarray(examples.dataset.inputs)
  inside = data.datasets.inside(examples.dataset)
  squares = np.square(outputs["reconstruction"] - x).mean(axis=-1)
  error = (squares * inside).sum(axis=1) / inside.sum(axis=1)
  columns = {"id": examples.ids}
  for i, code in enumerate(outputs["code"].T):
    columns[f"code_{i}"] = code
  columns |= {
    "anomaly_score": outputs["anomaly"],
    "reconstruction_error": error,
  }
  targets = np.asarray(examples.dataset.targets)
  if examples.labeled and targets.ndim == 1:
    names = model.preparation.classes
    columns["target"] = targets if names is None else np.array(names)[targets]
  return predictions.Predictions(columns, outputs)
