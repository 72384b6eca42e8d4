"""The flags of the server of a language model."""

import functools

from absl import flags

flags.disclaim_key_flags()

# Flags that only recommendation models use.
OF_RECOMMENDATION = ("users", "name_length")
# Flags that only language models use.
OF_LANGUAGE = (
  *("name", "slots", "steps", "waiting", "timeout", "max_tokens", "drafts"),
  *("prefix_bytes", "pattern_bytes", "initial_states", "adapter"),
  *("context", "param_dtype", "quantize", "long_prompts", "api_key"),
  *("warm", "adapters_at_run_time", "key_channels", "whole_keys"),
  *("memory", "stream_to", "predictors"),
)


@functools.cache
def define() -> None:
  """Defines the flags."""
  _address()
  _answers()
  _memory()
  _parameters()
  _recommendation()
  _connections()


def _address() -> None:
  """Defines the flags of the model and its address."""
  flags.DEFINE_string(
    "checkpoint", None, "a trained model, or a directory of one"
  )
  flags.DEFINE_string("host", "127.0.0.1", "address to listen at")
  flags.DEFINE_integer(
    "port", 8000, "port to listen at", lower_bound=0, upper_bound=65535
  )
  flags.DEFINE_string("name", None, "of the model; its directory's")


def _answers() -> None:
  """Defines the flags of the answers of a language model."""
  flags.DEFINE_integer(
    "slots", 16, "rows that tokens are drawn for at a time", lower_bound=1
  )
  flags.DEFINE_integer(
    "steps", 8, "tokens of each row that are drawn at a time", lower_bound=1
  )
  flags.DEFINE_integer(
    "waiting", 256, "rows that wait; more are refused", lower_bound=0
  )
  flags.DEFINE_float(
    "timeout", 600.0, "seconds that an answer may take", lower_bound=0.001
  )
  flags.DEFINE_integer(
    "max_tokens", 4096, "the most tokens of an answer", lower_bound=1
  )


def _memory() -> None:
  """Defines the flags of states, drafts and adapters in memory."""
  flags.DEFINE_float(
    "key_channels",
    1.0,
    "share of the channels of attention's keys that stay in memory once a "
    "prompt is read, those with the largest scores for its last queries "
    "(ThinK); 1 for all",
    lower_bound=0.0,
    upper_bound=1.0,
  )
  flags.DEFINE_integer(
    "whole_keys",
    128,
    "the last keys, which have room for all channels under --key_channels",
    lower_bound=32,
  )
  flags.DEFINE_integer(
    "prefix_bytes",
    2**28,
    "memory for states of prompts that may come again; 0 for none",
    lower_bound=0,
  )
  flags.DEFINE_integer(
    "pattern_bytes",
    2**28,
    "memory, at most, for tables of requests' regular expressions; 0 for none",
    lower_bound=0,
  )
  flags.DEFINE_string(
    "drafts",
    None,
    "several tokens in one pass: 'recycling', or a smaller model of the same "
    "tokens, as --checkpoint",
  )
  flags.DEFINE_string(
    "initial_states",
    None,
    "a file of adapt.initial_states: prompts start from these tuned states",
  )
  flags.DEFINE_multi_string(
    "adapter",
    [],
    "NAME=DIRECTORY of an adapter, in the form of the PEFT library, of the "
    "model; requests that name it as their model get it; several are allowed",
  )
  flags.DEFINE_integer(
    "adapters_at_run_time",
    0,
    "room for so many more adapters, which requests to /v1/load_lora_adapter "
    "load from any directory that they name; 0 for no such requests",
    lower_bound=0,
  )
  flags.DEFINE_bool(
    "long_prompts",
    False,
    "take prompts of more tokens than full attention of a pretrained model "
    "sees, which forgets their beginnings; they are refused otherwise",
  )


def _parameters() -> None:
  """Defines the flags of a pretrained model's parameters."""
  flags.DEFINE_integer(
    "context",
    None,
    "how many earlier elements full attention of a pretrained model looks back "
    "at; as many as it was made for, up to 4096",
    lower_bound=1,
  )
  flags.DEFINE_enum(
    "param_dtype",
    "float32",
    ["float32", "bfloat16", "float16"],
    "dtype of a pretrained model's parameters",
  )
  flags.DEFINE_bool(
    "quantize", False, "round weights to 8 bits: a quarter of the memory"
  )
  flags.DEFINE_string(
    "memory",
    None,
    "memory for the weights of a pretrained model that has more, as 2GB: its "
    "feed-forwards are computed from a file",
  )
  flags.DEFINE_string(
    "stream_to",
    None,
    "the file for --memory, written if absent; by default the model's "
    "directory has it, as streamed.safetensors",
  )
  flags.DEFINE_string(
    "predictors",
    None,
    "a file of interop.row_predictors, for --memory: only rows of neurons that "
    "are likely to be active are read",
  )


def _recommendation() -> None:
  """Defines the flags of recommendation."""
  flags.DEFINE_integer(
    "users",
    2**16,
    "users whose states are kept; the least recent one is forgotten for a new "
    "one",
    lower_bound=1,
  )
  flags.DEFINE_integer(
    "name_length",
    1024,
    "the most characters of a user's or item's name",
    lower_bound=1,
  )


def _connections() -> None:
  """Defines the flags of connections."""
  flags.DEFINE_multi_string(
    "api_key",
    [],
    "an API key; with one or more, each request must send one of them as "
    "Authorization: Bearer KEY",
  )
  flags.DEFINE_integer(
    "connections",
    512,
    "the most at a time, and at most half of the files that may be open; more "
    "are refused",
    lower_bound=1,
  )
  flags.DEFINE_float(
    "request_timeout",
    60.0,
    "seconds in which a request has to come with its body",
    lower_bound=0.001,
  )
  flags.DEFINE_bool(
    "warm",
    True,
    "compile all programs before the port opens; with --nowarm the first "
    "requests wait for them",
  )
  flags.DEFINE_float(
    "grace", 30.0, "seconds for answers to end after SIGTERM", lower_bound=1.0
  )
