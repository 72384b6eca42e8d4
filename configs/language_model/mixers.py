r"""All mixers on the King James Bible, byte by byte, at equal sizes.

    python -m experiments.language_model --workdir=runs/mixers \
      --config=configs/language_model/mixers.py

Two layers in the block of each mixer's paper, with widths for about 150,000
parameters; all read the same chunks of the text in the same order. The updates
are few, 0.3 MB of the text for each seed: this compares the speed of learning,
not final losses.

    --config=configs/language_model/mixers.py:state

has layers of width 64 with options for a recurrent state of about 2 kB per
sequence for every mixer, with any number of parameters: attention gets a window
of 16 bytes. The text is that of Debian's package bible-kjv (`apt-get install
bible-kjv`). Each takes about half an hour of one core. `:tiny`, a GRU, only
checks within a minute whether the program works.
"""

from configs import blocks
from configs import supervised
from configs import variants
from jaxseq.programs import language_model
from jaxseq.training import configuration

# Widths with the closest number of parameters to 150,000.
_WIDTHS = {
  "aaren": 72,
  "attention": 72,
  "based": 72,
  "comba": 64,
  "elman": 120,
  "ffm": 88,
  "fox": 64,
  "gated_deltanet": 64,
  "gdn2": 64,
  "gla": 72,
  "gru": 88,
  "gsa": 64,
  "hgrn": 72,
  "hgrn2": 72,
  "jrt": 64,
  "latent_attention": 64,
  "lightnet": 64,
  "linear_attention": 72,
  "log_linear": 72,
  "lru": 96,
  "lstm": 80,
  "mamba": 80,
  "mamba2": 88,
  "mamba3": 88,
  "mesa": 72,
  "mingru": 72,
  "minlstm": 72,
  "mlstm": 88,
  "mlstm_large": 72,
  "mom": 56,
  "nsa": 72,
  "path_attention": 64,
  "retention": 64,
  "rglru": 64,
  "routing": 72,
  "rtu": 136,
  "rwkv4": 64,
  "rwkv6": 48,
  "rwkv7": 64,
  "s4": 160,
  "s4d": 136,
  "s5": 88,
  "shm": 152,
  "short_conv": 72,
  "slstm": 80,
  "ttt": 64,
}
# Options of mixers whose defaults suit only large layers.
_OPTIONS = {
  "attention": {"window": 256},
  "based": {"heads": 4},
  "fox": {"window": 256},
  "latent_attention": {"window": 256},
  "mamba2": {"d_state": 16, "headdim": 16},
  "mamba3": {"d_state": 16, "headdim": 16},
  "nsa": {
    "block_size": 16,
    "block_count": 4,
    "window": 64,
    "capacity": 256,
  },
  "path_attention": {"window": 256},
  "rwkv6": {"head_size": 16},
  "rwkv7": {"head_size": 16},
}
# Options with which the state of a layer has about 256 numbers.
_STATES = {
  "aaren": {"heads": 64},
  "attention": {"heads": 8, "kv_heads": 1, "window": 16},
  "based": {"heads": 4, "d_feature": 2, "d_value": 8},
  "comba": {"heads": 2, "d_key": 8, "d_value": 8},
  "elman": {"d_hidden": 256},
  "ffm": {},
  "fox": {"heads": 8, "kv_heads": 1, "window": 10},
  "gated_deltanet": {"heads": 2, "d_key": 8, "d_value": 8},
  "gdn2": {"heads": 2, "d_key": 8, "d_value": 8},
  "gla": {"heads": 8},
  "gru": {"d_hidden": 256},
  "gsa": {"heads": 2, "slots": 8, "d_key": 8, "d_value": 8},
  "hgrn": {"d_hidden": 256},
  "hgrn2": {"heads": 16},
  "jrt": {"d_feature": 2, "d_value": 8},
  "latent_attention": {"d_latent": 12, "d_rotary": 4, "window": 16},
  "lightnet": {"heads": 4, "d_key": 2},
  "linear_attention": {"d_key": 4, "d_value": 15},
  "log_linear": {"channels": 16, "headdim": 16, "d_state": 1, "d_conv": 2},
  "lru": {"d_state": 128},
  "lstm": {"d_hidden": 128},
  "mamba": {"expand": 1, "d_conv": 2, "d_state": 3},
  "mamba2": {"expand": 1, "d_conv": 2, "d_state": 3, "headdim": 16},
  "mamba3": {"expand": 1, "d_state": 4, "headdim": 16},
  "mesa": {"heads": 2, "d_key": 8, "d_value": 8, "d_conv": 1},
  "mingru": {"d_hidden": 256},
  "minlstm": {"d_hidden": 256},
  "mlstm": {"d_hidden": 28, "d_conv": 2},
  "mlstm_large": {"d_key": 4, "d_value": 15},
  "mom": {
    "memories": 2,
    "active": 1,
    "heads": 2,
    "d_conv": 2,
    "d_key": 5,
    "d_value": 5,
  },
  "nsa": {
    "heads": 8,
    "block_size": 2,
    "block_count": 3,
    "window": 4,
    "capacity": 12,
  },
  "path_attention": {"heads": 8, "kv_heads": 1, "window": 10},
  "retention": {"d_key": 8, "d_value": 8},
  "rglru": {"d_hidden": 128, "d_conv": 2},
  "routing": {"heads": 2, "window": 4, "clusters": 2, "d_head": 12},
  "rtu": {"units": 128},
  "rwkv4": {"d_hidden": 43},
  "rwkv6": {"head_size": 4},
  "rwkv7": {"head_size": 4},
  "s4": {"d_state": 4},
  "s4d": {"d_state": 4},
  "s5": {"ssm_size": 256},
  "shm": {},
  "short_conv": {"d_conv": 5},
  "slstm": {"d_hidden": 64},
  "ttt": {"heads": 2, "d_head": 8, "d_conv": 1},
}
# Widths other than 64 for these options.
_OTHER_WIDTHS = {"aaren": 128, "mamba3": 48, "rwkv6": 40, "rwkv7": 40}


def _arms(
  widths: dict[str, int], options: dict[str, dict[str, int]]
) -> dict[str, dict]:
  """Returns an arm for each mixer, of width 64 if not given."""
  return {
    name: blocks.arm(
      name, d_model=widths.get(name, 64), mixer_options=options.get(name, {})
    )
    for name in _WIDTHS
  }


BASE = language_model.Config(
  data="kjv",
  num_updates=300,
  batch_size=8,
  chunks_per_evaluation=100,
  chunks_per_checkpoint=100,
  length=128,
  jump_every=8,
  test_streams=16,
  network={"stack": {"num_layers": 2, "norm": "rms"}},
  optimizer=supervised.adamw(4e-3, 0.1, warmup_steps=30),
  arms=_arms(_WIDTHS, _OPTIONS),
)
get_config = variants.Variants(
  parameters=BASE,
  state=configuration.updated(
    BASE,
    num_updates=200,
    valid_tokens=16_384,
    arms=_arms(_OTHER_WIDTHS, _STATES),
  ),
  tiny=supervised.tiny_text(BASE),
)
