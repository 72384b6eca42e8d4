"""Drawn pictures: what is read is what was read in training, nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.generation import picture_drawing
from jaxseq.generation import token_sampling
from jaxseq.nn import multiscale
from jaxseq.nn import picture_codec
from jaxseq.nn import picture_network

SMALL = {"patch": 2, "channels": 4, "blocks": 0}
SCALES = multiscale.ScalesConfig((1, 2), width=3, codes=7)
CODEC = picture_codec.CodecConfig(SCALES, **SMALL)
ONE = picture_codec.CodecConfig(
  multiscale.ScalesConfig((2,), width=3, codes=7, residual_ratio=0), **SMALL
)


def network_of(mixer="gru", **options):
  config = nn.NetworkConfig(nn.StackConfig(mixer, d_model=8, num_layers=1))
  return picture_network.PictureNetwork(config, (4, 4), **options)


CASES = {
  "scales": {"codec": CODEC, "classes": 4},
  "pixels": {"levels": 3, "context": 2},
  "last pixel": {"levels": 3, "context": 0},
  "codes": {"codec": ONE},
  "scales by attention": {"codec": CODEC, "mixer": "attention"},
  "whole scales": {
    "codec": CODEC,
    "mixer": "attention",
    "whole_scales": True,
  },
}


@pytest.mark.parametrize(
  "options",
  [
    pytest.param(
      options, id=name, marks=() if name == "scales" else pytest.mark.slow
    )
    for name, options in CASES.items()
  ],
)
def test_what_is_read_is_what_training_reads(options):
  network = network_of(**options)
  labels = np.array([2, 0, -1]) if network.classes else None
  start = jnp.zeros((3, network.time), jnp.int32)
  variables = jax.jit(network.init)(jax.random.key(0), start, labels)
  drawn = picture_drawing.draw(
    network, variables, jax.random.key(1), 3, labels=labels
  )
  assert drawn.pictures.shape == (3, 4, 4)
  assert len(np.unique(drawn.symbols)) > 2

  @jax.jit
  def read(symbols):
    inputs = network.apply(variables, symbols, labels, method="inputs")
    return inputs, network.apply(variables, symbols, labels)

  inputs, logits = read(drawn.symbols)
  np.testing.assert_allclose(inputs, drawn.inputs, atol=1e-5)
  # Greedy drawing takes what teacher forcing finds most probable.
  greedy = picture_drawing.draw(
    network,
    variables,
    jax.random.key(1),
    3,
    labels=labels,
    sampling=token_sampling.Sampling(temperature=0),
  )
  _, logits = read(greedy.symbols)
  np.testing.assert_array_equal(logits.argmax(axis=-1), greedy.symbols)


def test_pixels_are_white_from_a_half_on():
  below = np.nextafter(np.float32(0.5), np.float32(0))
  pictures = jnp.array([0.0, below, 0.5, 1.0])
  levels = picture_network.quantized(pictures, 2)
  np.testing.assert_array_equal(levels, [0, 0, 1, 1])
  grays = picture_network.quantized(jnp.arange(17) / 16, 17)
  np.testing.assert_array_equal(grays, np.arange(17))


def test_what_is_read_at_a_place_lies_before_it():
  table = picture_network.neighbors((3, 4), 1)
  assert table.shape == (12, 4)
  # Left, above to the left, above, above to the right; 12 is outside.
  np.testing.assert_array_equal(table[0], [12, 12, 12, 12])
  np.testing.assert_array_equal(table[6], [5, 1, 2, 3])
  np.testing.assert_array_equal(table[7], [6, 2, 3, 12])
  for context in range(4):
    table = picture_network.neighbors((3, 4), context)
    before = table < np.arange(12)[:, None]
    assert (before | (table == 12)).all()


@pytest.mark.slow
def test_guidance_sharpens_what_a_class_changes():
  network = network_of(levels=2, classes=2)
  symbols = jnp.zeros((4, 16), jnp.int32)
  labels = np.array([0, 1, 0, 1])
  variables = jax.jit(network.init)(jax.random.key(0), symbols, labels)
  kernel = variables["params"]["core"]["encoder"]["kernel"]
  assert len(kernel) == 4 * 2 + 4 + 4 + 2
  # Without a say of the class guidance changes nothing.
  silent = kernel.at[-2:].set(0)
  for weights, same in ((silent, True), (kernel.at[-2:].mul(30), False)):
    variables["params"]["core"]["encoder"]["kernel"] = weights
    free, guided = (
      picture_drawing.draw(
        network,
        variables,
        jax.random.key(3),
        4,
        labels=labels,
        guidance=t,
      )
      for t in (0.0, 4.0)
    )
    assert (free.symbols == guided.symbols).all() == same


def test_what_is_refused():
  network = network_of()
  for name, value in (("min_length", 3), ("stop", 1), ("presence_penalty", 1)):
    sampling = token_sampling.Sampling(**{name: value})
    with pytest.raises(ValueError, match=f"sampling.{name}: got"):
      picture_drawing.draw(network, {}, jax.random.key(0), 1, sampling=sampling)
  for options in ({"labels": [1]}, {"guidance": 2.0}):
    with pytest.raises(ValueError, match=f"{next(iter(options))}: got"):
      picture_drawing.draw(network, {}, jax.random.key(0), 1, **options)
  for labels, message in (([3], "got 3, expected -1, .* 2"), (["x"], "dtype")):
    with pytest.raises(ValueError, match=f"labels: got {message}|{message}"):
      picture_drawing.draw(
        network_of(classes=3), {}, jax.random.key(0), 1, labels=labels
      )
  for options in ({"mixer": "attention"}, {"codec": CODEC}):
    with pytest.raises(ValueError, match="whole_scales: got True"):
      network_of(whole_scales=True, **options).init(
        jax.random.key(0), jnp.zeros((1, 5), jnp.int32)
      )
  other = network_of(codec=picture_codec.CodecConfig(SCALES, patch=3))
  with pytest.raises(ValueError, match="size: got"):
    other.init(jax.random.key(0), jnp.zeros((1, 5), jnp.int32))
