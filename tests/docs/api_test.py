"""The API reference that is made from the docstrings."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_public_module_has_a_page(tmp_path):
  # pdoc warns of what it cannot show.
  flags = ["-W", "error::UserWarning"]
  subprocess.run(
    [sys.executable, *flags, "-m", "scripts.api", tmp_path],
    cwd=ROOT,
    timeout=600,
    check=True,
  )
  pages = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.html")}
  for path in (ROOT / "jaxseq").rglob("*.py"):
    parts = path.relative_to(ROOT).with_suffix("").parts
    if not any(part.startswith("_") for part in parts):
      assert pathlib.Path(*parts).with_suffix(".html") in pages
