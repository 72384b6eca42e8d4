"""Options that configurations of mixers refuse, and what they say."""

import pytest

from jaxseq import mixers

_GATED = [
  ({"heads": 0}, "heads: got 0, expected an integer of at least 1"),
  ({"heads": 3}, "d_hidden: got 4, expected a multiple of heads = 3"),
  ({"d_hidden": 0}, "d_hidden: got 0, expected an integer of at least 1"),
]
# Beside d_model = 4.
_REFUSED = {
  "aaren": [
    ({"heads": 3}, "heads: got 3, expected a divisor of d_model = 4"),
    ({"heads": 0}, "heads: got 0, expected an integer of at least 1"),
  ],
  "attention": [
    (
      {"heads": 4, "kv_heads": 3},
      "kv_heads: got 3, expected a divisor of heads",
    ),
    ({"window": 0}, "window: got 0, expected an integer of at least 1"),
    ({"positions": "alibi"}, "positions: got 'alibi', expected one of"),
    ({"d_head": 3}, "d_head: got 3, expected an even number"),
    (
      {"rotary_base": 1.0},
      "rotary_base: got 1.0, expected a number greater than 1",
    ),
  ],
  "comba": [
    ({"heads": 0}, "heads: got 0, expected an integer of at least 1"),
    ({"gate": "silu"}, "gate: got 'silu', expected one of"),
    ({"dt_min": 0.2}, "dt_min: got 0.2, expected 0 < dt_min <= dt_max = 0.1"),
  ],
  "based": [
    ({"d_feature": 0}, "d_feature: got 0, expected an integer of at least 1"),
  ],
  "elman": _GATED,
  "fox": [
    ({"kv_heads": 3}, "kv_heads: got 3, expected a divisor of heads = 4"),
    ({"forget_gate": "half"}, "forget_gate: got 'half', expected one of"),
  ],
  "gru": _GATED,
  "lightnet": [
    ({"heads": 3}, "heads: got 3, expected a divisor of d_model = 4"),
    ({"d_key": 0}, "d_key: got 0, expected an integer of at least 1"),
    ({"delta_0": 2}, "delta_0: got 2, expected one of 0, 1"),
    ({"decay": "none"}, "decay: got 'none', expected one of"),
    ({"gate": "relu"}, "gate: got 'relu', expected one of"),
    ({"lrpe": "full"}, "lrpe: got 'full', expected one of"),
    ({"norm_eps": 0.0}, "norm_eps: got 0.0, expected a finite number above 0"),
    ({"input_gate": True}, "input_gate: got True, expected False"),
    ({"lrpe": "rotary", "d_key": 5}, "d_key: got 5, expected an even number"),
  ],
  "linear_attention": [
    ({"heads": 0}, "heads: got 0, expected an integer of at least 1"),
    ({"d_key": 0}, "d_key: got 0, expected an integer of at least 1"),
    ({"feature_map": "exp"}, "feature_map: got 'exp', expected one of"),
    ({"decay": "slow"}, "decay: got 'slow', expected one of"),
    ({"normalization": "none"}, "normalization: got 'none', expected one of"),
    ({"gate": "elu"}, "gate: got 'elu', expected one of"),
    ({"value_map": "elu"}, "value_map: got 'elu', expected one of"),
    ({"log_decays": (-0.1,) * 4}, "log_decays: got .*, expected 4 numbers"),
    (
      {"decay": "fixed", "log_decays": (-0.1,)},
      "log_decays: got .*, expected 4 numbers, one per head",
    ),
    (
      {"decay": "fixed", "log_decays": (-0.1, 0.1, 0.0, -1.0)},
      "log_decays: got .*, expected numbers up to 0",
    ),
    ({"eps": 0.0}, "eps: got 0.0, expected a finite number above 0"),
    (
      {"feature_map": "silu"},
      "feature_map: got 'silu', expected 'elu' or 'relu'",
    ),
    (
      {"decay": "vector", "positions": "rotary"},
      "positions: got 'rotary', expected 'none'",
    ),
    (
      {"positions": "rotary", "d_key": 3},
      "d_key: got 3, expected an even number",
    ),
    (
      {"rotary_base": 1},
      "rotary_base: got 1, expected a number greater than 1",
    ),
  ],
  "gated_deltanet": [
    (
      {"heads": 4, "key_heads": 3},
      "key_heads: got 3, expected a divisor of heads = 4",
    ),
    (
      {"decay_bound": 1.0},
      "decay_bound: got 1.0, expected a number below 0, or None",
    ),
    ({"decay": "all"}, "decay: got 'all', expected one of"),
    ({"rates": "all"}, "rates: got 'all', expected one of"),
    ({"gate": "tanh"}, "gate: got 'tanh', expected one of"),
    ({"writes": 0}, "writes: got 0, expected an integer of at least 1"),
    ({"dt_min": 0.2}, "dt_min: got 0.2, expected 0 < dt_min <= dt_max = 0.1"),
  ],
  "gdn2": [
    ({"key_heads": 3}, "key_heads: got 3, expected a divisor of heads = 4"),
    ({"dt_min": 0.2}, "dt_min: got 0.2, expected 0 < dt_min <= dt_max = 0.1"),
  ],
  "gla": [
    ({"expand_k": 0.0}, "expand_k: got 0.0, expected a finite number above 0"),
    ({"gate": "tanh"}, "gate: got 'tanh', expected one of"),
  ],
  "gsa": [
    ({"kv_heads": 3}, "kv_heads: got 3, expected a divisor of heads = 4"),
    ({"slots": 0}, "slots: got 0, expected an integer of at least 1"),
    ({"feature_map": "elu"}, "feature_map: got 'elu', expected one of"),
  ],
  "hgrn": [
    ({"d_hidden": 0}, "d_hidden: got 0, expected an integer of at least 1"),
    ({"lower_bound": 1.0}, "lower_bound: got 1.0, expected a number from 0"),
  ],
  "hgrn2": [
    ({"heads": 3}, "heads: got 3, expected a divisor of d_model = 4"),
    ({"lower_bound": 1.0}, "lower_bound: got 1.0, expected a number from 0"),
  ],
  "lstm": _GATED,
  "mlstm": [
    ({"d_hidden": 10}, "d_hidden: got 10, expected a multiple of heads = 4"),
    ({"d_block": 0}, "d_block: got 0, expected an integer of at least 1"),
    ({"eps": 0.0}, "eps: got 0.0, expected a finite number above 0"),
  ],
  "mlstm_large": [
    ({"d_key": 0}, "d_key: got 0, expected an integer of at least 1"),
    ({"gate_cap": 0.0}, "gate_cap: got 0.0, expected a finite number above 0"),
  ],
  "retention": [
    ({"kv_heads": 3}, "kv_heads: got 3, expected a divisor of heads = 4"),
    ({"d_key": 3}, "d_key: got 3, expected an even number under a rotation"),
    ({"rotation": "xpos"}, "rotation: got 'xpos', expected one of"),
  ],
  "rwkv4": [
    ({"d_hidden": 0}, "d_hidden: got 0, expected an integer of at least 1"),
    ({"num_layers": 0}, "num_layers: got 0, expected an integer of at least"),
    ({"layer": -1}, "layer: got -1, expected an integer from 0 to 0"),
  ],
  "rwkv6": [
    ({"head_size": 3}, "head_size: got 3, expected a divisor of d_model = 4"),
    ({"layer": 1}, "layer: got 1, expected an integer from 0 to 0"),
    ({"mix_rank": 0}, "mix_rank: got 0, expected an integer of at least 1"),
  ],
  "rwkv7": [
    ({"head_size": 3}, "head_size: got 3, expected a divisor of d_model = 4"),
    ({"layer": 1}, "layer: got 1, expected an integer from 0 to 0"),
    ({"gate_rank": 0}, "gate_rank: got 0, expected an integer of at least 1"),
    ({"eps": 0.0}, "eps: got 0.0, expected a finite number above 0"),
  ],
  "mamba": [
    ({"d_conv": 0}, "d_conv: got 0, expected an integer of at least 1"),
    ({"dt_rank": 0}, "dt_rank: got 0, expected an integer of at least 1"),
    ({"dt_min": 0.2}, "dt_min: got 0.2, expected 0 < dt_min <= dt_max = 0.1"),
    ({"dt_init": "zeros"}, "dt_init: got 'zeros', expected one of"),
    ({"dt_scale": 0.0}, "dt_scale: got 0.0, expected a finite number above 0"),
    ({"norm": "rms"}, "norm: got 'rms', expected one of 'none', 'plain', 'sc"),
    ({"norm_eps": 0.0}, "norm_eps: got 0.0, expected a finite number above 0"),
  ],
  "mamba2": [
    ({"d_state": 0}, "d_state: got 0, expected an integer of at least 1"),
    (
      {"headdim": 3},
      r"headdim: got 3, expected a divisor of expand \* d_model = 8",
    ),
    (
      {"headdim": 4, "ngroups": 3},
      "ngroups: got 3, expected a divisor of heads = 2",
    ),
    ({"dt_min": 0.2}, "dt_min: got 0.2, expected 0 < dt_min <= dt_max = 0.1"),
    (
      {"dt_limit": (0.1, 0.01)},
      r"dt_limit: got \(0.1, 0.01\), expected \(low, high\), 0 <=",
    ),
    (
      {"A_init_range": (0, 1)},
      r"A_init_range: got \(0, 1\), expected \(low, high\), 0 < low",
    ),
    ({"norm_eps": 0.0}, "norm_eps: got 0.0, expected a finite number above 0"),
    (
      {"norm_groups": 3},
      r"norm_groups: got 3, expected a divisor of expand \* d_model",
    ),
    ({"channels": 0}, "channels: got 0, expected an integer of at least 1"),
    (
      {"channels": 6, "headdim": 4},
      "headdim: got 4, expected a divisor of channels = 6",
    ),
    (
      {"norm": "before"},
      "norm: got 'before', expected one of 'after_gate', 'b",
    ),
  ],
  "mamba3": [
    ({"d_state": 3}, "d_state: got 3, expected at least 4"),
    ({"rotary_fraction": 0.3}, "rotary_fraction: got 0.3, expected one of"),
    (
      {"headdim": 4, "ngroups": 3},
      "ngroups: got 3, expected a divisor of heads = 2",
    ),
    ({"dt_min": 0.2}, "dt_min: got 0.2, expected 0 < dt_min <= dt_max = 0.1"),
  ],
  "s4": [
    ({"d_state": 7}, "d_state: got 7, expected an even number"),
    ({"n_ssm": 3}, "n_ssm: got 3, expected a divisor of d_model = 4"),
    ({"init": "lin"}, "init: got 'lin', expected one of"),
    ({"dt_min": 0.2}, "dt_min: got 0.2, expected 0 < dt_min <= dt_max = 0.1"),
    (
      {"step_rescale": 0.0},
      "step_rescale: got .*, expected a finite number above 0",
    ),
    ({"real_transform": "square"}, "real_transform: got .*, expected one of"),
    ({"dt_transform": "relu"}, "dt_transform: got .*, expected one of"),
    ({"method": "scan"}, "method: got .*, expected one of"),
  ],
  "s4d": [
    ({"d_state": 7}, "d_state: got 7, expected an even number"),
    ({"n_ssm": 3}, "n_ssm: got 3, expected a divisor of d_model = 4"),
    ({"init": "legt"}, "init: got 'legt', expected one of"),
    ({"discretization": "euler"}, "discretization: got .*, expected one of"),
  ],
  "s5": [
    (
      {"ssm_size": 9, "blocks": 2},
      "ssm_size: got 9, expected a multiple of .*, 4",
    ),
    (
      {"ssm_size": 6, "blocks": 2},
      "ssm_size: got 6, expected a multiple of .*, 4",
    ),
    ({"discretization": "euler"}, "discretization: got .*, expected one of"),
    ({"c_init": "zeros"}, "c_init: got 'zeros', expected one of"),
    ({"dt_min": 0.2}, "dt_min: got 0.2, expected 0 < dt_min <= dt_max = 0.1"),
    (
      {"step_rescale": 0.0},
      "step_rescale: got .*, expected a finite number above 0",
    ),
  ],
  "slstm": _GATED,
}


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [(name, *case) for name, cases in _REFUSED.items() for case in cases],
)
def test_bad_options_are_named(name, options, message):
  with pytest.raises(ValueError, match=message):
    mixers.get(name).Config(d_model=4, **options)


@pytest.mark.parametrize("name", mixers.names())
def test_width_is_positive(name):
  message = "d_model: got 0, expected an integer of at least 1"
  with pytest.raises(ValueError, match=message):
    mixers.get(name).Config(d_model=0)
