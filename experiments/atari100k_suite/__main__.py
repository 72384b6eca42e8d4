"""The command `python -m experiments.atari100k_suite`."""

from experiments import atari100k_suite
from jaxseq.training import app

__doc__ = atari100k_suite.__doc__

if __name__ == "__main__":
  app.run_main(atari100k_suite.main)
