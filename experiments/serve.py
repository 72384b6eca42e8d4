r"""A server of a language model's completions, or of recommendations.

    python -m experiments.serve --checkpoint=DIR/ARM --port=8000
    curl http://127.0.0.1:8000/v1/completions \
      -d '{"prompt": "In the beginning", "max_tokens": 80, "temperature": 0.8}'
    curl http://127.0.0.1:8000/v1/events -d '{"user": "anna", "item": "Heat"}'
    curl http://127.0.0.1:8000/v1/recommend -d '{"user": "anna", "k": 5}'

The checkpoint is a model written by `experiments.language_model` or
`experiments.recommend` (`DIR/ARM/model.safetensors`, or its directory), or a
directory of a pretrained language model with `config.json` that
`interop.huggingface` can read; its tokenizer is `tokenizer.json` there, or
bytes without such a file. GET / lists the routes, which depend on the model:

    language        POST /v1/completions, POST /v1/chat/completions,
                    GET /v1/models, GET /health and GET /metrics; clients of the
                    interface find it at /v1
    recommendation  POST /v1/events, POST /v1/recommend and GET /health

After SIGTERM, running answers are finished; those that take longer than
`--grace` get an error. Only this machine can reach the server unless `--host`
is set; with `--api_key` each request needs a key.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.server()


if __name__ == "__main__":
  app.run_main(main)
