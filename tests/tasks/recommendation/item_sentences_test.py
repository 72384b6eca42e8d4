"""Histories as sentences: the reference's numbers, and what sees what."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.tasks.recommendation import item_sentences


def reference(known):
  """The options, the sentences and the variables of golden values."""
  options = item_sentences.Options(
    words=20,
    d_model=8,
    heads=int(known["num_heads"]),
    hidden=16,
    window=int(known["window"]),
    length=20,
    items=7,
  )
  arrays = (known[k] for k in ("input_ids", "token_type", "item_position"))
  sentences = item_sentences.Sentences(
    *(jnp.asarray(x, jnp.int32) for x in arrays),
    jnp.asarray(known["attention_mask"].sum(axis=1), jnp.int32),
  )

  def dense(name):
    return {
      "kernel": known[f"{name}.weight"].T,
      "bias": known[f"{name}.bias"],
    }

  def norm(name):
    return {"scale": known[f"{name}.weight"], "bias": known[f"{name}.bias"]}

  def params(kind):
    first = f"{kind}/embeddings"
    tree = {
      name: known[f"{first}.{long}_embeddings.weight"]
      for name, long in (
        *(("words", "word"), ("places", "position")),
        *(("kinds", "token_type"), ("numbers", "item_position")),
      )
    }
    tree["norm"] = norm(f"{first}.LayerNorm")
    for i in range(2):
      layer = f"{kind}/encoder.layer.{i}"
      attention = f"{layer}.attention"
      names = ("query", "key", "value")
      names += tuple(f"{name}_global" for name in names)
      tree[f"attention_{i}"] = {
        name: dense(f"{attention}.self.{name}") for name in names
      } | {"out": dense(f"{attention}.output.dense")}
      tree[f"attended_{i}"] = norm(f"{attention}.output.LayerNorm")
      tree[f"wide_{i}"] = dense(f"{layer}.intermediate.dense")
      tree[f"narrow_{i}"] = dense(f"{layer}.output.dense")
      tree[f"fed_{i}"] = norm(f"{layer}.output.LayerNorm")
    return tree

  return options, sentences, params


@pytest.mark.usefixtures("x64")
def test_numbers_are_those_of_the_release(golden):
  known = golden("recsys/recformer_tiny")
  options, sentences, params = reference(known)
  encoder = item_sentences.Encoder(options)

  @jax.jit
  def read(params):
    hidden = encoder.apply({"params": params}, *sentences)
    return hidden, item_sentences.scores(
      hidden[:, 0], known["item_embeddings"], options.temperature
    )

  hidden, scores = read(params("param"))
  # The release has softmax in float32.
  real = known["attention_mask"] > 0
  np.testing.assert_allclose(
    hidden[real], known["last_hidden"][real], atol=1e-5
  )
  np.testing.assert_allclose(scores, known["scores"], atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_gradients_are_those_of_the_release(golden):
  known = golden("recsys/recformer_tiny")
  options, sentences, params = reference(known)
  encoder = item_sentences.Encoder(options)

  @jax.jit
  def loss(params):
    pooled = encoder.apply({"params": params}, *sentences)[:, 0]
    scores = item_sentences.scores(
      pooled, known["item_embeddings"], options.temperature
    )
    logs = jax.nn.log_softmax(scores)
    return -logs[jnp.arange(3), known["labels"]].mean()

  value, gradient = jax.value_and_grad(loss)(params("param"))
  assert value == pytest.approx(float(known["loss"]), abs=1e-5)
  largest = max(np.abs(x).max() for x in jax.tree.leaves(params("grad")))
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5 * largest),
    gradient,
    params("grad"),
  )


def test_sentences_begin_with_the_newest_item():
  texts = [{"title": "Heat", "kind": "crime drama"}, {"title": "Ran!"}]
  options = item_sentences.Options(items=2, attribute=1)
  flat = item_sentences.flatten([[1, 0, 1], [1]], texts, options)
  np.testing.assert_array_equal(flat.lengths, [7, 3])
  np.testing.assert_array_equal(flat.types[0], [0, 1, 2, 1, 2, 1, 2])
  np.testing.assert_array_equal(flat.items[0], [0, 1, 1, 2, 2, 2, 2])
  np.testing.assert_array_equal(flat.types[1], [0, 1, 2, 3, 3, 3, 3])
  np.testing.assert_array_equal(flat.items[1, 3:], 2)
  np.testing.assert_array_equal(
    flat.tokens[:, :3], flat.tokens[:1, :3].repeat(2, 0)
  )
  assert flat.tokens[0, 1] == flat.tokens[0, 3]
  with pytest.raises(ValueError, match="window: got 3, expected a multiple"):
    dataclasses.replace(options, window=3)


@pytest.mark.slow
def test_padding_changes_nothing_and_both_terms_are_trained(golden):
  options, sentences, params = reference(golden("recsys/recformer_tiny"))
  encoder = item_sentences.Encoder(options)
  key = jax.random.key(0)
  variables = encoder.init(key, *sentences, method="hidden_words")
  variables = {"params": {**variables["params"], **params("param")}}
  variables = jax.tree.map(jnp.float32, variables)
  long = encoder.apply(variables, *sentences)
  short = encoder.apply(
    variables, *(x[1:2, :9] for x in sentences[:3]), sentences.lengths[1:2]
  )
  np.testing.assert_allclose(long[1, :9], short[0], atol=1e-5)

  def loss(variables):
    return item_sentences.pretraining(
      encoder,
      variables,
      sentences,
      jax.tree.map(lambda x: x[::-1], sentences),
      key,
    )

  (value, terms), gradient = jax.value_and_grad(loss, has_aux=True)(variables)
  np.testing.assert_allclose(
    value, terms["contrast"] + 0.1 * terms["masked"], rtol=1e-5
  )
  assert all(jnp.abs(x).max() > 0 for x in jax.tree.leaves(gradient))
