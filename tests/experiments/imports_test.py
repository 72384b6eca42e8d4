"""Messages of names that an experiment registers and nothing has imported."""

import pytest

from tests import programs


def said(code):
  """What the last line of an error says, in a process of its own."""
  result = programs.run("-c", code)
  assert result.returncode == 1, result.stdout
  return result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
  ("name", "module"),
  [("listops", "lra"), ("graphs", "graph_sequences")],
)
def test_data_without_the_import_name_the_module(name, module):
  code = f"from jaxseq import data; data.load({name!r})"
  expected = f"`import experiments.{module}` before, which registers it."
  assert said(code).endswith(f"data: got {name!r}, expected {expected}")
  code = f"import experiments.{module}; {code.replace('load', 'loader')}"
  assert programs.run("-c", code).returncode == 0


def test_names_of_no_experiment_are_unknown():
  said_of_none = said("from jaxseq import data; data.load('listop')")
  assert "data: got 'listop', expected one of 'acsf1'" in said_of_none
  said_of_a_kind = said("from jaxseq.models import kinds; kinds.get('listops')")
  assert "kind of model: got 'listops', expected one of" in said_of_a_kind
