"""Pages of the notebooks, with what their cells gave: a hook of MkDocs."""

import base64
import json
import pathlib

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File
from mkdocs.structure.files import Files

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "colabs"


def on_files(files: Files, config: MkDocsConfig) -> Files:
  """Adds a page for each notebook, and its pictures."""
  for path in sorted(FOLDER.glob("*.ipynb")):
    text, pictures = page(path)
    files.append(
      File.generated(config, f"notebooks/{path.stem}.md", content=text)
    )
    for name, content in pictures.items():
      files.append(File.generated(config, f"notebooks/{name}", content=content))
  return files


def page(path: pathlib.Path) -> tuple[str, dict[str, bytes]]:
  """Returns the text of a notebook's page, and its pictures by name."""
  parts = []
  pictures = {}
  for cell in json.loads(path.read_text())["cells"]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
      parts.append(source)
      continue
    parts.append(f"```python\n{source}\n```")
    for output in cell.get("outputs", ()):
      data = output.get("data", {})
      if "image/png" in data:
        name = f"{path.stem}_{len(pictures)}.png"
        pictures[name] = base64.b64decode(data["image/png"])
        parts.append(f"![Drawn by the cell above]({name})")
      elif text := "".join(output.get("text", data.get("text/plain", ()))):
        parts.append(f"```text\n{text.rstrip()}\n```")
  return "\n\n".join(parts) + "\n", pictures
