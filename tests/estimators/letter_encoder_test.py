"""Encoder: embeddings of letters by a model of masked language."""

import numpy as np
import pytest
from sklearn import base
from sklearn import utils
from sklearn.utils import validation

from jaxseq import estimators
from jaxseq.models import model_file
from tests.models import cases

SEQUENCES = ["GGGAAACCC", "ACGUACGUACGUACGU", "AAC<mask>U"]


def test_embeddings_are_what_the_model_predicts(tmp_path):
  model = cases.sequences().model
  path = tmp_path / "model.safetensors"
  model_file.save(path, model)
  encoder = base.clone(estimators.Encoder(str(path)))
  # Nothing has to be fitted, in scikit-learn's sense either.
  validation.check_is_fitted(encoder)
  assert not utils.get_tags(encoder).requires_fit
  embeddings = encoder.transform(SEQUENCES)
  assert embeddings.shape == (3, model.network.config.stack.d_model)
  assert len(encoder.get_feature_names_out()) == embeddings.shape[1]
  columns = model.predict(SEQUENCES[:2]).columns
  predicted = [columns[f"embedding_{i}"] for i in range(embeddings.shape[1])]
  close = {"rtol": 1e-4, "atol": 1e-5}
  np.testing.assert_allclose(embeddings[:2].T, predicted, **close)
  # Of each letter, whatever stands beside it in the batch.
  encoder.set_params(of="letters").fit()
  letters = encoder.transform(SEQUENCES)
  assert [len(row) for row in letters] == [9, 16, 5]
  features = encoder._features(model.preparation.prepare(SEQUENCES[:1]))[0]
  np.testing.assert_allclose(letters[0], features[1:-1], **close)
  np.testing.assert_allclose(embeddings[0], features.mean(axis=0), **close)


def test_what_is_refused(tmp_path):
  path = tmp_path / "model.safetensors"
  model_file.save(path, cases.classes().model)
  with pytest.raises(ValueError, match="model: got a model of classification"):
    estimators.Encoder(path).fit()
  with pytest.raises(ValueError, match="of: got 'words', expected one of"):
    estimators.Encoder(path, of="words").fit()
  encoder = estimators.Encoder(path)
  with pytest.raises(ValueError, match="model: got a model of classification"):
    encoder.transform(SEQUENCES)
  with pytest.raises(FileNotFoundError, match="absent"):
    estimators.Encoder(tmp_path / "absent").transform(SEQUENCES)
  encoder.model_ = None
  with pytest.raises(ValueError, match=r"X: got 'ACG', expected a list"):
    encoder.transform("ACG")
