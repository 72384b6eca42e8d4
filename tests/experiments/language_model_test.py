"""Next-byte prediction: flags of generation."""

import pytest

from jaxseq.training import errors
from tests.experiments import programs

CONFIG = "configs/language_model/kjv.py:tiny"


@pytest.mark.parametrize("mode", ["train", "generate"])
@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--top_k=999", "top_k: got 999, expected an integer from 1 to 256."),
    ("--top_p=0", "top_p: got 0.0, expected a number above 0 and of at most 1"),
    ("--top_p=1.5", "top_p: got 1.5, expected a number above 0 and of at most"),
    ("--top_p=nan", "top_p: got nan, expected a finite number"),
    ("--temperature=nan", "temperature: got nan, expected a finite number of"),
    ("--temperature=inf", "temperature: got inf, expected a finite number of"),
  ],
)
def test_wrong_flags_of_generation_get_one_sentence(
  monkeypatch, tmp_path, mode, flag, message
):
  """And before anything is trained or written."""
  workdir = tmp_path / "run"
  with pytest.raises(errors.UserError, match=f"^{message}"):
    programs.call(
      monkeypatch, "language_model", CONFIG, workdir, f"--mode={mode}", flag
    )
  assert not workdir.exists()
