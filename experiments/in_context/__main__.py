"""The command `python -m experiments.in_context`."""

from experiments import in_context
from jaxseq.training import app

__doc__ = in_context.__doc__

if __name__ == "__main__":
  app.run_main(in_context.main)
