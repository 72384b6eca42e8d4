"""Codecs, what writes their codes, and pictures that are drawn again."""

import json

import jax
import numpy as np
import pytest

import jaxseq
from jaxseq.generation import picture_drawing as drawing
from jaxseq.models import model_file
from jaxseq.programs import pictures
from jaxseq.tasks.pictures import picture_codes
from tests.experiments import programs


def test_a_model_of_another_kind_has_no_codec(tmp_path, monkeypatch):
  assert pictures.codec_of("") is None

  class Other:
    kind = "classification"

  monkeypatch.setattr(model_file, "load", lambda path: Other)
  with pytest.raises(ValueError, match="tokenizer: got a model of class"):
    pictures.codec_of("a.safetensors")


def test_pictures_have_one_border_all_round(tmp_path):
  rows = np.random.default_rng(0).random((2, 3, 4, 5))
  whole = pictures.side_by_side(rows)
  assert whole.shape == (2 * 5 + 1, 3 * 6 + 1, 3)
  gray = np.ptp(whole, axis=-1) == 0
  inside = np.ones_like(gray)
  inside[::5], inside[:, ::6] = False, False
  np.testing.assert_array_equal(gray, inside)
  np.testing.assert_array_equal(whole[6:10, 13:18, 0], 1 - rows[1, 2])
  labels = ["as it is", "1 x 1"]
  path = pictures.grid(tmp_path / "a.png", rows, labels)
  assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_codes_are_trained_then_written_then_drawn(tmp_path, monkeypatch):
  def run(name, workdir, *more):
    config = f"configs/pictures/digits.py:{name}"
    options = ("--config.num_seeds=1", "--config.tensorboard=False")
    programs.call(monkeypatch, "pictures", config, workdir, *options, *more)

  codes, written = tmp_path / "codes", tmp_path / "written"
  run("tiny_codes", codes)
  results = json.loads((codes / "results.json").read_text())["scales"]
  assert np.shape(results["by_scale"]["unexplained"]) == (1, 2)
  assert results["by_scale"]["unexplained"][0][-1] == pytest.approx(
    results["unexplained"][0]
  )
  assert 0 < results["usage"][0] <= 1
  assert (codes / "scales/scales.png").is_file()
  path = codes / "scales/model.safetensors"
  assert jaxseq.load(path).kind == picture_codes.TASK.kind
  more = f"--config.tokenizer={path}", "--config.by_class=True"
  run("tiny", written, *more)
  results = json.loads((written / "results.json").read_text())
  assert "histogram of each place" in results["baselines"]
  picture = written / "gru/samples.png"
  before = picture.read_bytes()
  run("tiny", written, *more, "--mode=generate", "--config.sample_seed=3")
  assert picture.read_bytes() != before
  model = jaxseq.load(written / "gru/model.safetensors")
  drawn = drawing.draw(model.network, model.variables, jax.random.key(0), 2)
  assert drawn.pictures.shape == (2, 8, 8)
