"""Draws the pictures of docs/concepts: python -m scripts.pages.pictures.

They are SVG without a background, with colors for light and for dark pages,
which browsers choose by the color scheme of the page around them.
"""

import pathlib

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "docs" / "concepts"

_HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"
  role="img" aria-label="{label}">
<style>
  text {{ font: 15px system-ui, "Segoe UI", "DejaVu Sans", sans-serif;
    fill: #24313a; text-anchor: middle }}
  .left {{ text-anchor: start }}
  .bold {{ font-weight: 600 }}
  .small {{ font-size: 13px; fill: #5a6a75 }}
  .x {{ fill: #dfe7ec; stroke: #90a4ae }}
  .y {{ fill: #d3efe9; stroke: #00897b }}
  .second {{ fill: #fde6c8; stroke: #e08a00 }}
  .block {{ fill: #00897b }}
  .on {{ fill: #ffffff; font-weight: 600 }}
  .line {{ stroke: #78909c; stroke-width: 1.5; fill: none }}
  .state {{ stroke: #d81b60; stroke-width: 2.5; fill: none }}
  .name {{ fill: #c2185b; font-weight: 600 }}
  .line-head {{ fill: #78909c }}
  .state-head {{ fill: #d81b60 }}
  @media (prefers-color-scheme: dark) {{
    text {{ fill: #e6edf1 }}
    .small {{ fill: #a9b8c1 }}
    .x {{ fill: #37474f; stroke: #78909c }}
    .y {{ fill: #0b4f47; stroke: #26a69a }}
    .second {{ fill: #5c3d0a; stroke: #ffb74d }}
    .line {{ stroke: #90a4ae }}
    .line-head {{ fill: #90a4ae }}
    .state {{ stroke: #f48fb1 }}
    .state-head {{ fill: #f48fb1 }}
    .name {{ fill: #f8a5c2 }}
  }}
</style>
<defs>
  <marker id="line" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"
    markerHeight="7" orient="auto"><path class="line-head" d="M0 0 8 4 0 8z"/>
  </marker>
  <marker id="state" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5"
    markerHeight="5" orient="auto"><path class="state-head" d="M0 0 8 4 0 8z"/>
  </marker>
</defs>
"""


class Drawing:
  """Shapes of one picture, by their middles and sizes in pixels."""

  def __init__(self, width: int, height: int, label: str):
    self._parts = [_HEAD.format(width=width, height=height, label=label)]

  def box(self, x, y, width, height, kind, words="", style=""):
    """Draws a box, with words in its middle."""
    self._parts.append(
      f'<rect class="{kind}" x="{x - width / 2:g}" y="{y - height / 2:g}" '
      f'width="{width:g}" height="{height:g}" rx="5"/>\n'
    )
    if words:
      self.text(x, y + 5, words, style or ("on" if kind == "block" else ""))

  def text(self, x, y, words, style=""):
    """Writes words on a line."""
    self._parts.append(
      f'<text class="{style}" x="{x:g}" y="{y:g}">{words}</text>\n'
    )

  def arrow(self, x0, y0, x1, y1, kind="line"):
    """Draws an arrow; "state" is the kind of those that carry a state."""
    self._parts.append(
      f'<path class="{kind}" d="M{x0:g} {y0:g} {x1:g} {y1:g}" '
      f'marker-end="url(#{kind})"/>\n'
    )

  def write(self, name: str) -> None:
    """Writes the picture into the folder."""
    (FOLDER / name).write_text("".join([*self._parts, "</svg>\n"]))


def contract() -> None:
  """One sequence, in parallel, step by step and in chunks."""
  picture = Drawing(
    610,
    536,
    "One sequence in parallel, step by step and in chunks: the same outputs",
  )
  xs = [176 + 64 * t for t in range(6)]
  pieces = {
    "in parallel": [(0, 6)],
    "step by step": [(t, t + 1) for t in range(6)],
    "in chunks": [(0, 2), (2, 6)],
  }
  for row, (title, blocks) in enumerate(pieces.items()):
    top = 40 + 168 * row
    picture.text(16, top + 50, title, "left bold")
    names = ("apply", "step", "apply")
    picture.text(16, top + 70, f"{names[row]}(...)", "left small")
    for t, x in enumerate(xs):
      picture.box(x, top, 44, 28, "x", f"x{t}")
      picture.arrow(x, top + 15, x, top + 36)
      picture.arrow(x, top + 76, x, top + 97)
      picture.box(x, top + 112, 44, 28, "y", f"y{t}")
    for start, stop in blocks:
      left, right = xs[start] - 22, xs[stop - 1] + 22
      words = names[row] if stop - start > 1 else "step"
      picture.box(
        (left + right) / 2, top + 56, right - left, 38, "block", words
      )
      picture.arrow(right, top + 56, right + 20, top + 56, "state")
    picture.arrow(xs[0] - 44, top + 56, xs[0] - 22, top + 56, "state")
    picture.text(xs[-1] + 68, top + 61, "state", "name")
  picture.text(
    336,
    522,
    "the same y and the same last state, whichever way the sequence was run",
    "small",
  )
  picture.write("contract.svg")


def reset() -> None:
  """Two documents in one row: the state is put back between them."""
  picture = Drawing(
    610, 292, "Two documents in one row: a reset puts the state back"
  )
  xs = [126 + 62 * t + (60 if t > 2 else 0) for t in range(7)]
  picture.text(16, 45, "inputs", "left bold")
  picture.text(16, 95, "reset", "left bold")
  picture.text(16, 155, "state", "left bold")
  picture.text(16, 227, "outputs", "left bold")
  for t, x in enumerate(xs):
    second = t >= 3
    words = f"b{t - 3}" if second else f"a{t}"
    picture.box(x, 40, 46, 28, "second" if second else "x", words)
    picture.text(x, 95, "1" if t == 3 else "0", "bold" if t == 3 else "small")
    picture.arrow(x, 54, x, 78)
    picture.arrow(x, 102, x, 130)
    picture.box(x, 150, 46, 38, "block", "step")
    picture.arrow(x, 170, x, 206)
    picture.box(x, 222, 46, 28, "second" if second else "y", f"y{t}")
    if t not in (2, 6):
      picture.arrow(x + 23, 150, xs[t + 1] - 23, 150, "state")
  picture.arrow(xs[3] - 62, 150, xs[3] - 23, 150, "state")
  picture.text(xs[3] - 50, 134, "fresh", "name")
  picture.text(
    342,
    272,
    "what comes after a reset is what a sequence of its own would give",
    "small",
  )
  picture.write("reset.svg")


def packages() -> None:
  """What is built on what."""
  picture = Drawing(760, 330, "What is built on what in jaxseq")
  rows = [
    ("experiments and configs", ["one program for each kind"]),
    ("problems and agents", ["tasks", "rl", "spr", "dts"]),
    ("Flax layers and networks", ["nn"]),
    ("models as pure functions", ["mixers"]),
    ("loops over time", ["recurrence"]),
  ]
  for row, (title, boxes) in enumerate(rows):
    y = 40 + 62 * row
    picture.text(16, y + 5, title, "left bold")
    width = 316 / len(boxes)
    for index, name in enumerate(boxes):
      x = 236 + width * (index + 0.5)
      kind = "block" if row in (2, 3, 4) else "y"
      picture.box(x, y, width - 8, 36, kind, name)
    if row:
      picture.arrow(394, y - 18, 394, y - 42)
  picture.box(656, 164, 176, 284, "x")
  others = {
    "data": "data sets",
    "training": "runs, devices",
    "models": "files, predictions",
    "estimators": "fit, predict",
    "planner": "mixed lengths",
    "interop": "others' weights",
  }
  for row, (name, words) in enumerate(others.items()):
    picture.text(656, 46 + 47 * row, name, "bold")
    picture.text(656, 64 + 47 * row, words, "small")
  picture.write("packages.svg")


if __name__ == "__main__":
  contract()
  reset()
  packages()
