"""Messages of names that an experiment registers and nothing has imported."""

import pytest

import jaxseq
from jaxseq.interop import described_file
from tests import programs
from tests.models import cases

NOT_REGISTERED = "jaxseq._registry.NotRegistered"


def said(code):
  """What the last line of an error says, in a process of its own."""
  result = programs.run("-c", code)
  assert result.returncode == 1, result.stdout
  return result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
  ("name", "module"),
  [
    ("listops", "lra"),
    ("graphs", "graph_sequences"),
    ("rna", "masked_language"),
    ("watch", "sensors"),
    ("ecg_diff_count", "sensors"),
  ],
)
def test_data_without_the_import_name_the_module(name, module):
  code = f"from jaxseq import data; data.load({name!r})"
  expected = f"`import experiments.{module}` before, which registers it."
  wrong = f"data: got {name!r}, expected {expected}"
  assert said(code) == f"{NOT_REGISTERED}: {wrong}"
  code = f"import experiments.{module}; {code.replace('load', 'loader')}"
  assert programs.run("-c", code).returncode == 0


def test_models_without_the_import_name_the_module(tmp_path):
  """Of a file that names its module, and of one from before files did."""
  made = cases.case("pointing")
  path, older = tmp_path / "m.safetensors", tmp_path / "older.safetensors"
  jaxseq.save(path, made.model)
  contents = described_file.read(path)
  assert contents.described.pop("module") == "experiments.pointing.answers"
  described_file.write(older, contents.described, made.model.variables)
  for file, module, what in (
    (path, "experiments.pointing.answers", "reads it"),
    (older, "experiments.pointing", "registers it"),
  ):
    code = f"import jaxseq; jaxseq.load({str(file)!r})"
    assert said(code) == (
      f"{NOT_REGISTERED}: {file}: kind: got 'pointing', expected "
      f"`import {module}` before, which {what}."
    )
    result = programs.run("-c", f"import {module}; {code}")
    assert result.returncode == 0, result.stderr


def test_names_of_no_experiment_are_unknown():
  said_of_none = said("from jaxseq import data; data.load('listop')")
  assert "data: got 'listop', expected one of 'acsf1'" in said_of_none
  said_of_a_kind = said("from jaxseq.models import kinds; kinds.get('listops')")
  assert "kind of model: got 'listops', expected one of" in said_of_a_kind
