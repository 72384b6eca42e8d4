"""What the README says can be typed, works."""

import pathlib
import re

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"


def test_the_example_runs():
  (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
  exec(compile(code, "README.md", "exec"), {})


def test_every_make_target_and_linked_file_exists():
  text = README.read_text()
  makefile = (README.parent / "Makefile").read_text()
  for target in re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", text, re.M):
    name = target[0] or target[1]
    assert re.search(rf"^{name}:", makefile, re.M), name
  for link in re.findall(r"\]\(([^)]+)\)", text):
    assert (README.parent / link).exists(), link
