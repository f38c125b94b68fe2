"""`attn serve`: HTTP for programs that are not shells."""

from __future__ import annotations

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config.serving import ServeCommand
from attn_cli.errors import UsageError
from attn_cli.lines.writing import LineWriter
from attn_cli.wording import plural

_STOPPED = 128  # and the number of the signal


@with_options(ServeCommand)
def serve_command(*, options: ServeCommand) -> None:
    """attn serve | while read AT; do curl -d q="a line" $AT/translate; done

    Answer requests over HTTP, on this machine's own address unless --host says otherwise; print
    the address when they are taken in, and go on until a signal ends it: what is in flight is
    finished. Requests are answered together as they come, by what decode and embed answer with;
    what a request does not say of the search, the options say. The page at / translates while one
    types.

    \b
    attn serve -m en-de=DIR,de-en=DIR --port 5000
    curl -d q="a line" -d source=en -d target=de localhost:5000/translate
    curl --json '{"prompt": "The", "temperature": 0.8}' localhost:8000/v1/completions

    Routes: /translate, /languages, /frontend/settings and /health as LibreTranslate has them;
    /v1/completions, /v1/embeddings and /v1/models as OpenAI has them; /predict takes
    {"inputs": [...]} for models that label, tag or answer questions; /attention tells what the
    words of a translation attend to; /metrics counts, for Prometheus.
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    console = Console(options.speech)
    try:
        import starlette  # noqa: F401 - asked before a model is loaded
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "serve needs: pip install '.[serve]' beside attn's pyproject.toml"
        ) from error

    from attn_cli.serve.app import make_app
    from attn_cli.serve.desk import Desk, read_keys
    from attn_cli.serve.meter import Meter
    from attn_cli.serve.models import open_models
    from attn_cli.serve.server import address_of, begin, bind, run

    keys = read_keys(options.place.api_keys)
    with bind(options.place) as bound:
        meter = Meter()
        models = open_models(options, meter, console.warn)
        app = make_app(Desk(models, options.limits, meter, keys))
        begin(bound)
        LineWriter().write_lines([address_of(bound)])
        names = models.names
        console.say(f"serves {plural(len(names), 'model')}: {', '.join(names)}; Ctrl-C stops")
        if number := run(app, bound, options.limits):
            raise SystemExit(_STOPPED + number)
