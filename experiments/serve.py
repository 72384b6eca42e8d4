r"""A server of a language model's completions, or of recommendations.

    python -m experiments.serve --checkpoint=DIR/ARM --port=8000
    curl http://127.0.0.1:8000/v1/completions \
      -d '{"prompt": "In the beginning", "max_tokens": 80, "temperature": 0.8}'
    curl http://127.0.0.1:8000/v1/events -d '{"user": "anna", "item": "Heat"}'
    curl http://127.0.0.1:8000/v1/recommend -d '{"user": "anna", "k": 5}'

The checkpoint is a model that `experiments.language_model` or
`experiments.recommend` wrote (`DIR/ARM/model.safetensors`, or its directory),
or a directory of a pretrained language model with `config.json`, as
`interop.huggingface` reads it; its tokenizer is `tokenizer.json` there, and
bytes if there is none. GET / lists the routes, which are those of the model:

    language        POST /v1/completions, POST /v1/chat/completions,
                    GET /v1/models, GET /health and GET /metrics; clients of the
                    interface find it at /v1
    recommendation  POST /v1/events, POST /v1/recommend and GET /health

SIGTERM lets answers that have begun come to their ends; those that would take
longer than `--grace` get an error. Nothing but this machine reaches the server
unless `--host` says otherwise; with `--api_key` each request needs a key.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.server()


if __name__ == "__main__":
  app.run_main(main)
