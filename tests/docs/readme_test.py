"""What README.md and CONTRIBUTING.md say can be typed, works."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_example_runs():
  (code,) = re.findall(
    r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
  )
  exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_and_linked_file_exists(name):
  text = (ROOT / name).read_text()
  makefile = (ROOT / "Makefile").read_text()
  for start, quoted in re.findall(
    r"^make ([a-z-]+)|`make ([a-z-]+)`", text, re.M
  ):
    target = start or quoted
    assert re.search(rf"^{target}:", makefile, re.M), target
  for link in re.findall(r"\]\(([^)]+)\)", text):
    assert (ROOT / link).exists(), link
