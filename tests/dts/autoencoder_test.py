"""Tests of the auto-encoders of series."""

import dataclasses

import chex
from flax import linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.dts import autoencoder
from jaxseq.dts import backbones
from jaxseq.dts import decoders
from jaxseq.dts import series_encoders
from jaxseq.nn import bidirectional
from jaxseq.nn import masks

_LENGTH, _CHANNELS, _LATENT = 9, 2, 3
_SLOW = [
  pytest.param(name, marks=pytest.mark.slow)
  for name in (
    "mamba",
    "gru",
    "s5",
    "aaren",
    "lightnet",
    "mamba2",
    "attention",
    "s4d",
  )
]


def _backbone(name):
  if name in ("conv", "mlp"):
    return {"kind": name, "widths": (4, 4)}
  plain = name in ("lstm", "gru")
  return {
    "stack": nn.StackConfig(
      name,
      d_model=8,
      num_layers=2,
      norm="none" if plain else "layer",
      activation="none" if plain else "half_glu2",
      residual=not plain,
      final_norm=False,
    )
  }


def _vae(encoder="mlp", decoder="mlp", form="nonar", **options):
  config = autoencoder.ModelConfig(
    series_encoders.EncoderConfig(**_backbone(encoder)),
    decoders.DecoderConfig(form=form, **_backbone(decoder), **options),
    latent=_LATENT,
  )
  return autoencoder.VAE(config, _LENGTH, _CHANNELS)


def _data(batch=2):
  keys = jax.random.split(jax.random.key(0))
  x = jax.random.normal(keys[0], (batch, _LENGTH, _CHANNELS))
  return x, jax.random.normal(keys[1], (batch, _LATENT))


@pytest.mark.slow
@pytest.mark.parametrize(
  "decoder", [pytest.param("lstm", marks=pytest.mark.slow), "conv", *_SLOW]
)
@pytest.mark.parametrize(
  "skip_z", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_autoregressive_decoder(decoder, skip_z):
  vae = _vae(decoder=decoder, form="ar", skip_z=skip_z)
  x, z = _data()
  variables = jax.jit(vae.init)(jax.random.key(1), x)

  @jax.jit
  def run(variables, x, z):
    mean = vae.apply(variables, z, x, method="decode")
    free = autoencoder.generate(vae, variables, z)
    # Fed with what it generated, the parallel form gives it again.
    again = vae.apply(variables, z, free, method="decode")
    prompted = autoencoder.generate(vae, variables, z, x[:, :4])
    other = vae.apply(variables, z + 1, x, method="decode")
    late = vae.apply(variables, z, x.at[:, 5:].add(1.0), method="decode")
    return mean, free, again, prompted, other, late

  mean, free, again, prompted, other, late = run(variables, x, z)
  chex.assert_shape(mean, x.shape)
  # float32 sums in another order.
  np.testing.assert_allclose(free, again, atol=1e-5)
  np.testing.assert_array_equal(prompted[:, :4], x[:, :4])
  np.testing.assert_allclose(prompted[:, 4], mean[:, 4], atol=1e-5)
  # The past, and nothing else, matters; so does the code, from the first on.
  np.testing.assert_allclose(mean[:, :6], late[:, :6], atol=1e-6)
  assert np.abs(mean[:, 6:] - late[:, 6:]).max() > 1e-4
  assert np.all(np.abs(mean - other).max(axis=(0, 2)) > 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("decoder", "form"),
  [
    ("conv", "ar"),
    ("gru", "nonar"),
    pytest.param("gru", "ar", marks=pytest.mark.slow),
  ],
)
@pytest.mark.parametrize(
  "skip_z", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_skip_z_gives_the_code_to_later_layers(decoder, form, skip_z):
  vae = _vae(decoder=decoder, form=form, skip_z=skip_z)
  x, z = _data()
  variables = jax.jit(vae.init)(jax.random.key(1), x)
  stack = variables["params"]["decoder"]["stack"]
  conditions = [stack[name] for name in sorted(stack) if "condition" in name]
  conditions += [
    layer["condition"]
    for _, layer in sorted(stack.get("layers", {}).items())
    if "condition" in layer
  ]
  assert (len(conditions) > 1) == skip_z
  # What is left of the code when the first layer and the input have none.
  for part in (stack["input"], *conditions[:1]):
    part["kernel"] = jnp.zeros_like(part["kernel"])
  decode = jax.jit(lambda z: vae.apply(variables, z, x, method="decode"))
  moved = np.abs(decode(z) - decode(z + 1)).max()
  assert moved > 1e-3 if skip_z else moved == 0


@pytest.mark.parametrize(
  "encoder", [pytest.param("lstm", marks=pytest.mark.slow), "conv", *_SLOW]
)
@pytest.mark.parametrize(
  "pooling", ["last", pytest.param("mean", marks=pytest.mark.slow)]
)
def test_padding_changes_nothing(encoder, pooling):
  config = series_encoders.EncoderConfig(pooling=pooling, **_backbone(encoder))
  module = series_encoders.Encoder(config, _LATENT)
  x, _ = _data(3)
  lengths = jnp.array([9, 4, 1])
  variables = jax.jit(module.init)(jax.random.key(1), x, lengths)
  encode = jax.jit(module.apply)
  mu, logvar = encode(variables, x, lengths)
  behind = ~masks.inside(x.shape[1], lengths)[..., None]
  chex.assert_trees_all_close(
    (mu, logvar),
    encode(variables, jnp.where(behind, 1e3, x), lengths),
    atol=1e-6,  # the same sums
  )
  assert np.abs(mu[1] - encode(variables, x, lengths + 1)[0][1]).max() > 1e-4
  if encoder != "conv":  # whose padding is that of the whole array
    alone, _ = module.apply(variables, x[1:2, :4])
    np.testing.assert_allclose(alone[0], mu[1], atol=1e-5)


@pytest.mark.parametrize(
  ("stride", "dilation", "kernel"), [(2, 1, 4), (1, 4, 3)]
)
def test_convolution_is_that_of_flax(stride, dilation, kernel):
  x = jax.random.normal(jax.random.key(0), (2, 17, 3))
  ours = backbones.Conv(5, kernel, stride=stride, dilation=dilation)
  variables = ours.init(jax.random.key(1), x)
  filters = variables["params"]["filters"]
  theirs = linen.Conv(
    5, kernel, strides=stride, kernel_dilation=dilation, padding="VALID"
  )
  kernels = filters["kernel"].reshape(kernel, 3, 5)
  expected = theirs.apply(
    {"params": {"kernel": kernels, "bias": filters["bias"]}}, x
  )
  # The same products, summed in another order.
  np.testing.assert_allclose(ours.apply(variables, x), expected, atol=1e-5)


def test_reverse():
  x = jnp.arange(8.0).reshape(2, 4, 1)
  np.testing.assert_array_equal(
    bidirectional.reverse(x, jnp.array([4, 2]))[..., 0],
    [[3, 2, 1, 0], [5, 4, 6, 7]],
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  "kind", ["mlp", "conv", pytest.param("lstm", marks=pytest.mark.slow)]
)
def test_decoder_without_a_past(kind):
  vae = _vae(decoder=kind)
  x, z = _data()
  variables = vae.init(jax.random.key(1), x)
  mean = vae.apply(variables, z, method="decode")
  chex.assert_shape(mean, x.shape)
  np.testing.assert_array_equal(mean, autoencoder.generate(vae, variables, z))
  # Neither does the series at the input matter, nor are all times alike.
  np.testing.assert_array_equal(
    mean, vae.apply(variables, z, x, method="decode")
  )
  assert np.abs(np.diff(mean, axis=1)).max() > 1e-4


def test_likelihood_is_that_of_a_gaussian():
  vae = _vae()
  x, z = _data()
  variables = vae.init(jax.random.key(1), x)
  variables["params"]["log_scale"] = jnp.float32(-0.3)
  lengths = jnp.array([9, 4])
  nll = vae.apply(variables, x, z, lengths, method="nll")
  mean = np.asarray(vae.apply(variables, z, method="decode"), np.float64)
  scale = np.exp(-0.3)
  each = 0.5 * ((np.asarray(x) - mean) / scale) ** 2 + 0.5 * np.log(
    2 * np.pi * scale**2
  )
  expected = [each[0].sum(), each[1, :4].sum()]
  np.testing.assert_allclose(nll, expected, rtol=1e-5)  # float32


def test_word_dropout_is_of_training():
  vae = _vae(decoder="conv", form="ar", word_dropout=0.9)
  x, z = _data()
  variables = vae.init(jax.random.key(1), x)
  clean = vae.apply(variables, z, x, method="decode")
  noisy = vae.apply(
    variables, z, x, True, method="decode", rngs={"dropout": jax.random.key(2)}
  )
  # The first element has no past to lose.
  np.testing.assert_allclose(noisy[:, 0], clean[:, 0], atol=1e-6)
  assert np.abs(noisy - clean).max() > 1e-3


@pytest.mark.slow
def test_layers_of_two_kinds_in_bfloat16():
  stack = nn.StackConfig(
    "s5",
    {"ssm_size": 8, "blocks": 1},
    hybrid={"attention": {"heads": 2, "window": 4}},
    d_model=8,
    feedforward="swiglu",
    dtype="bfloat16",
    remat=True,
  )
  config = autoencoder.ModelConfig(
    series_encoders.EncoderConfig(stack=stack),
    decoders.DecoderConfig(form="ar", stack=stack, skip_z=True),
    latent=_LATENT,
  )
  vae = autoencoder.VAE(config, _LENGTH, _CHANNELS)
  x, z = _data()
  variables = jax.jit(vae.init)(jax.random.key(1), x)
  layers = variables["params"]["decoder"]["stack"]["layers"]
  assert "Lambda_re" in layers["layers_0"]["mixer"]
  assert "W_o" in layers["layers_1"]["mixer"]
  mean = jax.jit(lambda z: vae.apply(variables, z, x, method="decode"))(z)
  assert mean.shape == x.shape
  assert np.isfinite(mean).all()
  sharp = dataclasses.replace(stack, dtype="float32")
  config = dataclasses.replace(
    config,
    encoder=dataclasses.replace(config.encoder, stack=sharp),
    decoder=dataclasses.replace(config.decoder, stack=sharp),
  )
  vae = autoencoder.VAE(config, _LENGTH, _CHANNELS)
  expected = vae.apply(variables, z, x, method="decode")
  # A few roundings of 4e-3 each.
  assert np.abs(mean - expected).max() < 3e-2 * np.abs(expected).max()


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: series_encoders.EncoderConfig(kind="tree"), "kind"),
    (lambda: series_encoders.EncoderConfig(kind="mlp"), "widths"),
    (
      lambda: decoders.DecoderConfig(kind="mlp", widths=(4,), form="ar"),
      "form",
    ),
    (lambda: decoders.DecoderConfig(word_dropout=0.5), "word_dropout"),
    (
      lambda: decoders.DecoderConfig(kind="mlp", widths=(4,), skip_z=True),
      "skip_z: got True, expected False for form 'nonar' with kind 'mlp'",
    ),
    (
      lambda: decoders.DecoderConfig(kind="conv", widths=(4,), skip_z=True),
      "skip_z",
    ),
    (
      lambda: decoders.DecoderConfig(form="ar", skip_z=True),
      "skip_z: got True, expected False for 1 layer",
    ),
    (
      lambda: decoders.DecoderConfig(
        kind="conv", widths=(4,), form="ar", skip_z=True
      ),
      "skip_z: got True, expected False for 1 layer",
    ),
    (lambda: autoencoder.ModelConfig(latent=4, segments=(3, 2)), "segments"),
    (lambda: autoencoder.ModelConfig(scale=0.0), "scale"),
  ],
)
def test_wrong_options(make, message):
  with pytest.raises(ValueError, match=message):
    make()
