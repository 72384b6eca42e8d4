"""The command `python -m experiments.group_policy`."""

from experiments import group_policy
from jaxseq.training import app

__doc__ = group_policy.__doc__

if __name__ == "__main__":
  app.run_main(group_policy.main)
