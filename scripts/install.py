"""Installs jaxseq from this checkout where it is absent: notebooks run it."""

import importlib.util
import pathlib
import subprocess
import sys

if importlib.util.find_spec("jaxseq") is None:
  checkout = pathlib.Path(__file__).resolve().parents[1]
  subprocess.run(
    [sys.executable, "-m", "pip", "install", "-q", f"{checkout}[log]"],
    check=True,
  )
