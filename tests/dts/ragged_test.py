"""Series of different lengths, from a file to the loss and its gradient."""

import dataclasses

import chex
import jax
import numpy as np
import pytest

from jaxseq import data
from jaxseq.dts import autoencoder
from jaxseq.dts import backbones
from jaxseq.dts import decoders
from jaxseq.dts import problem
from jaxseq.dts import series_encoders

_LENGTHS = (6, 1, 4, 3)
_HEADER = """@problemName Ragged
@timestamps false
@univariate false
@classLabel true a b
@data
"""


def _write(path, seed):
  rng = np.random.default_rng(seed)
  cases = []
  for number, length in enumerate(_LENGTHS):
    channels = np.round(rng.normal(size=(2, length)), 3)
    text = [",".join(map(str, channel)) for channel in channels]
    cases.append(":".join([*text, "ab"[number % 2]]))
  path.write_text(_HEADER + "\n".join(cases) + "\n")
  return path


@pytest.fixture
def splits(tmp_path):
  return data.load(
    "uea",
    train_path=_write(tmp_path / "R_TRAIN.ts", 0),
    test_path=_write(tmp_path / "R_TEST.ts", 1),
  )


def _arm(mixer):
  layer = backbones.Backbone().stack
  stack = dataclasses.replace(layer, mixer=mixer, d_model=4)
  return problem.ArmConfig(
    model=autoencoder.ModelConfig(
      series_encoders.EncoderConfig(stack=stack, bidirectional=True),
      decoders.DecoderConfig(form="ar", stack=stack),
      latent=2,
    ),
    batch_size=4,
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  "mixer",
  ["gru", *(pytest.param(n, marks=pytest.mark.slow) for n in ("lstm", "s5"))],
)
def test_padding_is_nowhere_in_the_loss_and_its_gradient(splits, mixer):
  assert splits.train.lengths.tolist() == list(_LENGTHS)
  assert splits.train.inputs.shape == (4, 6, 2)
  arm = _arm(mixer)
  made = problem.Problem(arm, splits, 1)
  variables = jax.jit(made.init)(jax.random.key(0))

  @jax.jit
  def run(inputs):
    batch = splits.train._replace(inputs=inputs)

    def loss(variables):
      value, extra = made.loss(variables, batch, made.carry, jax.random.key(1))
      return value, extra.metrics

    return jax.value_and_grad(loss, has_aux=True)(variables)

  padded = splits.train.inputs
  (value, metrics), grads = run(padded)
  chex.assert_tree_all_finite((value, metrics, grads))
  for name in ("mu", "logvar"):
    kernel = grads["params"]["model"]["encoder"][name]["kernel"]
    # The features of both directions are used.
    assert np.abs(np.asarray(kernel)).max(axis=1).min() > 0
  filled = padded.copy()
  filled[np.arange(6) >= splits.train.lengths[:, None]] = 9.0
  # The same float32 sums, of which those of the padding are exactly 0.
  chex.assert_trees_all_close(run(filled), ((value, metrics), grads), rtol=1e-6)
  # Whereas the last element that counts does count, in each series.
  for row, length in enumerate(_LENGTHS):
    changed = padded.copy()
    changed[row, length - 1] += 1.0
    assert abs(run(changed)[0][0] - value) > 1e-3

  # A series alone, without padding, has the code and the share of the
  # likelihood that it has in the batch.
  row, length = 2, _LENGTHS[2]

  def alone(vae, x, lengths):
    params = {"params": variables["params"]["model"]}
    code, _ = vae.apply(params, x, lengths, method="encode")
    return code, vae.apply(params, x, code, lengths, method="nll")

  vae, short = (autoencoder.VAE(arm.model, count, 2) for count in (6, length))
  of_all = jax.jit(lambda: alone(vae, padded, splits.train.lengths))()
  of_one = jax.jit(lambda: alone(short, padded[row : row + 1, :length], None))()
  for batch, one in zip(of_all, of_one):
    np.testing.assert_allclose(one[0], batch[row], rtol=1e-4, atol=1e-5)
