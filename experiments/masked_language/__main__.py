"""The command `python -m experiments.masked_language`."""

from experiments import masked_language
from jaxseq.training import app

__doc__ = masked_language.__doc__

if __name__ == "__main__":
  app.run_main(masked_language.main)
