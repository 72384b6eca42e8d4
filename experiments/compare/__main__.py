"""The command `python -m experiments.compare`."""

from experiments import compare
from jaxseq.training import app

__doc__ = compare.__doc__

if __name__ == "__main__":
  app.run_main(compare.main)
