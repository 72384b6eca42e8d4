"""Families of pretrained models against the transformers library itself.

Run by `make test-interop`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq.interop import huggingface

pytestmark = [
  pytest.mark.interop,
  # The other library's own business.
  pytest.mark.filterwarnings("default"),
]

# Logits are of size 1 to 4, in float32 on both sides. Where a norm divides a
# small vector, both were up to 5e-5 away from what float64 gives; twice that.
_FLOAT32 = {"rtol": 0, "atol": 1e-4}


def _cases():
  try:
    from tests.interop import family_models
  except ImportError:  # The marker keeps these tests from running then.
    return ()
  return tuple(family_models.CASES)


@pytest.mark.parametrize("case", _cases())
def test_saved_there_and_loaded_here(case, tmp_path):
  from tests.interop import family_models
  from tests.interop import models

  model, ids = family_models.make(case), models.tokens(time=23)
  _compare(case, model, ids, tmp_path)


def test_the_model_of_text_within_one_of_images(tmp_path):
  from tests.interop import family_models
  from tests.interop import models

  model, ids = family_models.with_images(), models.tokens(time=23)
  _compare("with images", model, ids, tmp_path)


def _compare(label, model, ids, tmp_path):
  from tests.interop import models

  model.save_pretrained(tmp_path)
  config, variables = huggingface.load(tmp_path, context=64)
  network = huggingface.make_network(config, variables)
  logits, _ = jax.jit(network.apply)(variables, jnp.asarray(ids))
  theirs = models.logits(model, ids)
  difference = np.max(np.abs(logits - theirs))
  print(f"{label}: largest difference {difference:.1e}, {np.std(theirs):.1f}")
  assert np.std(theirs) > 0.05
  np.testing.assert_allclose(logits, theirs, **_FLOAT32)
  tokens, _ = generation.generate(
    network,
    variables,
    jnp.asarray(ids),
    8,
    jax.random.key(0),
    temperature=0.0,
  )
  np.testing.assert_array_equal(tokens, models.greedy(model, ids, 8, False))
