"""Masked language and pairs: the arms of both objectives."""

import csv
import types

import pytest

from configs.masked_language import rna
from experiments.masked_language import program
from experiments.masked_language import rna as structures
from tests.experiments import programs


def test_pairs_have_no_trees_to_draw():
  config = program.Config(
    **vars(rna.get_config("tiny")) | {"objective": "pairs"},
    pair_width=4,
    pair_channels=4,
  )
  work = program.work(config, types.SimpleNamespace(mode="train"))
  assert list(work.arms) == ["gru"]


@pytest.mark.slow
def test_structures_are_drawn_and_predicted(monkeypatch, tmp_path):
  config = "configs/masked_language/rna.py:tiny"
  run = "masked_language", config, tmp_path / "run", "--config.objective=pairs"
  programs.call(monkeypatch, *run)
  picture = tmp_path / "run" / "gru" / "structures.png"
  assert picture.read_bytes().startswith(b"\x89PNG")
  (tmp_path / "a.fasta").write_text(">one\nGGGAAAACCC\n>two\nACG\n")
  output = tmp_path / "structures.csv"
  data = f"--data={tmp_path / 'a.fasta'}"
  flags = "--mode=predict", data, f"--output={output}"
  programs.call(monkeypatch, *run, *flags)
  with output.open() as file:
    rows = list(csv.DictReader(file))
  found = {row["id"]: row["structure"] for row in rows}
  assert found["two"] == "..."
  partners = structures.partners_of(found["one"]).tolist()
  opened = [(i, j) for i, j in enumerate(partners) if i < j] or [(-1, -1)]
  assert opened == [
    (int(row["position"]), int(row["partner"]))
    for row in rows
    if row["id"] == "one"
  ]
