"""Semantic ids: residual quantization, and ids that no two items share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.tasks.recommendation import semantic_ids


def _parameters(known, prefix):
  """The parameters of the reference, or their gradients, as the module's."""

  def perceptron(name):
    layers, start = {}, f"{prefix}/{name}."
    for n in range(2):
      block = f"{start}mlp_blocks.{n}."
      layers[f"Dense_{2 * n}"] = {
        "kernel": known[f"{block}0.weight"].T,
        "bias": known[f"{block}0.bias"],
      }
      layers[f"LayerNorm_{n}"] = {
        "scale": known[f"{block}1.weight"],
        "bias": known[f"{block}1.bias"],
      }
      residual = known[f"{start}residuals.{n}.weight"][:, 0]
      layers[f"Dense_{2 * n + 1}"] = {"kernel": residual.T}
    layers["Dense_4"] = {
      "kernel": known[f"{start}out_projection.weight"].T,
      "bias": known[f"{start}out_projection.bias"],
    }
    return layers

  books = [
    known[f"{prefix}/quantization_layer.codebooks.{n}"] for n in range(3)
  ]
  return {
    "params": {
      "encoder": perceptron("encoder"),
      "decoder": perceptron("decoder"),
      "codebooks": np.stack(books),
    }
  }


def test_the_quantiser_is_that_of_the_reference(golden):
  known = golden("recsys/rqvae")
  hidden = tuple(known["hidden"].tolist())
  quantizer = semantic_ids.Quantizer(
    10, hidden, width=5, levels=3, codes=4, beta=float(known["beta"])
  )
  with jax.enable_x64():
    variables = jax.tree.map(jnp.asarray, _parameters(known, "param"))
    x = jnp.asarray(known["x"])
    encoded = quantizer.apply(variables, x, method="encode")

    def run(variables):
      losses, quantized = quantizer.apply(variables, x)
      return sum(losses), (losses, quantized)

    (_, (losses, quantized)), gradient = jax.jit(
      jax.value_and_grad(run, has_aux=True)
    )(variables)
  np.testing.assert_allclose(encoded, known["encoded"], rtol=1e-9)
  np.testing.assert_array_equal(quantized.codes, known["codes"])
  for name in ("residuals", "chosen"):
    np.testing.assert_allclose(
      getattr(quantized, name), known[name], rtol=1e-9, atol=1e-12
    )
  assert losses.reconstruction == pytest.approx(float(known["reconstruction"]))
  assert losses.embedding == pytest.approx(float(known["embedding_loss"]))
  assert losses.commitment == pytest.approx(float(known["commitment_loss"]))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10),
    gradient,
    _parameters(known, "grad"),
  )
  ids = semantic_ids.identifiers(known["codes"])
  np.testing.assert_array_equal(ids, known["semantic_id"])
  tokens = semantic_ids.tokens_of(ids, 4)
  np.testing.assert_array_equal(tokens, known["token_id"])


def test_no_two_items_share_an_id():
  codes = np.random.default_rng(0).integers(0, 3, (40, 2))
  ids = semantic_ids.identifiers(codes)
  assert len(np.unique(ids, axis=0)) == 40
  np.testing.assert_array_equal(ids[:, :2], codes)


@pytest.mark.slow
def test_most_codes_have_items_after_a_fit():
  vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
  options = {"hidden": (8,), "width": 2, "levels": 2, "codes": 16}
  fitted = semantic_ids.fit(jax.random.key(0), vectors, updates=100, **options)
  assert fitted.codes.shape == (60, 2)
  # From k-means on, most codes have items: 60 vectors fall to 16 codes.
  assert fitted.usage.min() > 0.7
  assert fitted.reconstruction < np.square(vectors).mean()


def test_items_with_like_words_have_like_vectors():
  texts = ["Heat Crime", "Casino Crime", "Ran War", "Platoon War", "Babe Pigs"]
  vectors = semantic_ids.word_vectors(texts, 4)
  unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  cosines = unit @ unit.T
  assert cosines[0, 1] > cosines[0, 2] + 0.05
  assert cosines[2, 3] > cosines[0, 3] + 0.05
