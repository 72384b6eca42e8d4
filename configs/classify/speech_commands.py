r"""Speech Commands, 35 words at 16 kHz, raw audio of length 16,000.

    python -m experiments.classify --workdir=runs/speech_commands \
      --config=configs/classify/speech_commands.py \
      --config.data_options.path=/data/speech_commands_v0.02

The recordings are not part of this project; the folder is the unpacked archive
of the published set. Networks and optimizers are those published for S5
(arXiv:2208.04933, its code) and S4 (state-spaces/s4): 0.9652 and 0.9608 on the
test set. Meant for a large GPU; we have not run it to its end, so no result is
given. `:tiny` is a test run on the same folder.
"""

import dataclasses

from configs import supervised
from configs import variants
from configs.classify import _shared
import experiments.speech_commands  # noqa: F401

EPOCH = 84_843 // 16
S5 = _shared.s5_paper(128, 16, c_init="lecun_normal")
S4 = {"d_state": 64, "n_ssm": 2, "bidirectional": True}
ARMS = {
  "s5": {
    "network": {
      "stack": {
        **S5,
        "d_model": 96,
        "activation": "half_glu1",
        "dropout": 0.1,
      }
    },
    "optimizer": {
      "name": "s5",
      "s5_groups": "noBCdecay",
      "learning_rate": 8e-3,
      "ssm_learning_rate": 2e-3,
      "weight_decay": 0.04,
      "warmup_steps": EPOCH,
    },
  },
  "s4": {
    "network": {"stack": {"mixer": "s4", "mixer_options": S4, "d_model": 128}},
    "optimizer": {
      "name": "s4",
      "learning_rate": 1e-2,
      "ssm_learning_rate": 1e-3,
      "weight_decay": 0.05,
      "warmup_steps": 1000,
    },
  },
}
FULL = dataclasses.replace(
  _shared.base("speech_commands"),
  data_options={"path": "data/speech_commands"},
  num_seeds=1,
  num_updates=40 * EPOCH,
  updates_per_chunk=500,
  chunks_per_evaluation=10,
  batch_size=16,
  network={"stack": {"num_layers": 6, "norm": "batch"}, "pooling": "mean"},
  optimizer={"schedule": "cosine", "max_grad_norm": None},
  references={"S5 (paper)": 0.9652, "S4 (paper)": 0.9608},
  arms=ARMS,
)
get_config = variants.Variants(full=FULL, tiny=supervised.tiny(FULL))
