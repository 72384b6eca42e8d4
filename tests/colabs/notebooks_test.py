"""The notebooks run from top to bottom, and are what their sources say."""

import os
import pathlib

import jupytext
import nbclient
import nbformat
import pytest

COLABS = pathlib.Path(__file__).resolve().parents[2] / "colabs"
NOTEBOOKS = sorted(COLABS.glob("*.ipynb"))


def test_there_are_notebooks():
  assert NOTEBOOKS


def test_all_install_jaxseq_in_the_same_way():
  cells = set()
  for path in NOTEBOOKS:
    notebook = nbformat.read(path, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert "%pip install" in first.source
    cells.add(first.source)
  assert len(cells) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_source_and_notebook_say_the_same(path):
  notebook = nbformat.read(path, as_version=4)
  source = jupytext.read(path.with_suffix(".py"))
  cells = [(cell.cell_type, cell.source) for cell in notebook.cells]
  assert cells == [(cell.cell_type, cell.source) for cell in source.cells], (
    f"run `make notebooks`: {path.name} is not what {path.stem}.py says"
  )


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
  monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
  monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
  # What would train for minutes trains for a moment.
  monkeypatch.setenv("JAXSEQ_TINY", "1")
  root = str(COLABS.parent)
  # The notebook finds the package where the tests do, installed or not.
  old = os.environ.get("PYTHONPATH")
  monkeypatch.setenv("PYTHONPATH", root + (os.pathsep + old if old else ""))
  notebook = nbformat.read(path, as_version=4)
  client = nbclient.NotebookClient(
    notebook, timeout=300, resources={"metadata": {"path": str(COLABS)}}
  )
  client.execute()
  errors = [
    output
    for cell in notebook.cells
    for output in cell.get("outputs", [])
    if output.output_type == "error"
  ]
  assert not errors
