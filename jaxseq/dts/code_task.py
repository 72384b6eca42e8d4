"""Codes of windows as a line of work, see `jaxseq.tasks.task`."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.dts import autoencoder
from jaxseq.dts import divergences
from jaxseq.dts import downstream
from jaxseq.dts import problem
from jaxseq.tasks import outputs
from jaxseq.tasks import task
from jaxseq.types import PyTree


def compute(
  network: autoencoder.VAE, variables: PyTree, arguments: dict[str, jax.Array]
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


def _predict(model, examples):
  """Returns a row for each window."""
  arrays, dataset = model.outputs(examples.dataset), examples.dataset
  inside = data.datasets.inside(dataset)
  squares = (arrays["reconstruction"] - np.asarray(dataset.inputs)) ** 2
  error = (squares.mean(axis=-1) * inside).sum(axis=1) / inside.sum(axis=1)
  columns = {
    "id": examples.ids,
    **{f"code_{i}": code for i, code in enumerate(arrays["code"].T)},
    "anomaly_score": arrays["anomaly"],
    "reconstruction_error": error,
  }
  targets = np.asarray(dataset.targets)
  if examples.labeled and targets.ndim == 1:
    names = model.preparation.classes
    named = targets if names is None else outputs.class_names(names, targets)
    columns["target"] = named
  return columns, arrays


TASK = task.Task(
  name="codes",
  arm=problem.ArmConfig,
  problem=lambda arm, splits, config: problem.Problem(
    arm, splits, config.num_updates
  ),
  optimizer=problem.make_optimizer,
  metric="neg_elbo",
  better="lower",
  unit="windows",
  columns={"neg_elbo": "-ELBO", "nll": "-log p(x|z)", "kl": "KL"},
  kind="codes",
  outputs=outputs.Outputs(
    network=autoencoder.VAE,
    arguments=lambda network, dataset: outputs.present(
      inputs=dataset.inputs, lengths=dataset.lengths
    ),
    compute=compute,
    predict=_predict,
    # Windows have one length.
    time_axis=lambda network: None,
  ),
)
