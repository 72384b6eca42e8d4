"""The angle of a pendulum from noisy images at irregular times.

    import experiments.pendulum
    splits = jaxseq.data.load("pendulum", seed=42)

Importing the folder makes its data set "pendulum" known. Its comparison is that
of `experiments.classify`, with the config `configs/classify/pendulum.py`.
"""

from jaxseq.data import registry

registry.register("pendulum", "experiments.pendulum.images:load")
