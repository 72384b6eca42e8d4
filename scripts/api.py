"""Writes the API reference, made from the docstrings: scripts/api.py FOLDER."""

import importlib
import pathlib
import pkgutil
import sys
import warnings

import pdoc

import jaxseq


def main(folder: str) -> None:
  """Renders every public module of jaxseq below a folder."""
  # pdoc looks for names in the dictionaries of modules, not by getattr.
  infos = pkgutil.walk_packages(jaxseq.__path__, "jaxseq.")
  names = [info.name for info in infos if info.ispkg]
  for name in ["jaxseq", *names]:
    package = importlib.import_module(name)
    vars(package).update({key: getattr(package, key) for key in dir(package)})
  # The arrays in a tree, an alias of chex that names itself.
  warnings.filterwarnings("ignore", "Error parsing type .* ArrayTree failed")
  pdoc.render.configure(docformat="google", show_source=False)
  pdoc.pdoc("jaxseq", output_directory=pathlib.Path(folder))


if __name__ == "__main__":
  main(sys.argv[1])
