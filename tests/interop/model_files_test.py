"""Files of a model's directory."""

import json
import pathlib

from jaxseq.interop import huggingface

_GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "interop"


def test_config_json_is_replaced_as_a_whole(tmp_path):
  config, variables = huggingface.load(_GOLDEN / "mamba2")
  huggingface.save(tmp_path / "model", config, variables)
  path, kept = tmp_path / "model" / "config.json", tmp_path / "kept"
  kept.hardlink_to(path)
  before = kept.read_text()
  huggingface.save(
    tmp_path / "model", config, variables, entries={"eos_token_id": 1}
  )
  assert json.loads(path.read_text())["eos_token_id"] == 1
  # Whoever has the file open reads the old one, and a kill leaves one of both.
  assert kept.read_text() == before
