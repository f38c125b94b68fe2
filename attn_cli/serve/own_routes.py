"""The routes of attn's own: answers of models with tasks, attention, figures, and the page."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from attn_cli.errors import AttnError
from attn_cli.serve.answering import flat_texts
from attn_cli.serve.desk import Desk, chosen, raised
from attn_cli.serve.fields import Fields, written
from attn_cli.serve.refusal import bad_request
from attn_cli.serve.texts import plain
from attn_cli.serve.translate_routes import MOST_ALTERNATIVES, TranslateRoutes
from attn_cli.serve.translation import translated
from attn_cli.serve.writing import Written

# Nothing is loaded but what stands in the page, and nothing is asked but this server.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class OwnRoutes:
    """Answers in plain JSON.

    Args:
        desk: what routes share.
        translate: finds who translates.
    """

    def __init__(self, desk: Desk, translate: TranslateRoutes) -> None:
        self._desk = desk
        self._translate = translate
        self._page = page_text()

    @property
    def routes(self) -> list[Route]:
        """All of them."""
        desk = self._desk
        attention = desk.posted(self.attention, key_in_body=True)
        return [
            Route("/", self.page, methods=["GET"]),
            Route("/attention", attention, methods=["POST"]),
            Route("/metrics", self.metrics, methods=["GET"]),
            Route("/predict", desk.posted(self.predict, key_in_body=True), methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        """Translate as you type."""
        headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        return HTMLResponse(self._page, headers=headers)

    async def metrics(self, request: Request) -> Response:
        """What was counted, for Prometheus."""
        self._desk.check_key(request)
        text = self._desk.meter.text()
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def predict(self, request: Request, fields: Fields) -> Response:
        """A label, tags or an answer for each input; what is wrong with one stands in its place."""
        name = None if fields.value("model") is None else fields.text("model")
        model, batcher = chosen(
            self._desk.models.answerers, name, "a model that labels, tags or answers"
        )
        inputs = fields.value("inputs")
        if not isinstance(inputs, list):
            raise bad_request("inputs: a list is needed, of texts or what else the model's task is")
        texts: list[str] = []
        for number, value in enumerate(inputs):
            own = flat_texts(value)
            if own is None:
                raise bad_request(
                    f"inputs[{number}]: a text, a list of texts or an object of texts is needed"
                )
            texts += [written(f"inputs[{number}]", text) for text in own]
        if len(inputs) > self._desk.limits.max_lines:
            raise bad_request(
                f"{len(inputs):,} inputs in one request, of {self._desk.limits.max_lines:,} that "
                "are allowed (--max-lines); send several requests"
            )
        # A text to be answered may have several lines: they are one input.
        self._desk.check_texts([" ".join(texts).replace("\n", " ")])
        found = await batcher.answered(None, inputs)
        answers = []
        for entry in found:
            if isinstance(entry, AttnError) and raised(entry).status != 400:
                raise raised(entry)
            answers.append({"error": str(entry)} if isinstance(entry, AttnError) else entry)
        return JSONResponse({"model": model, "answers": answers})

    async def attention(self, request: Request, fields: Fields) -> Response:
        """A text translated, with what each word of it attends to."""
        text = fields.text("q")
        self._desk.check_texts([text])
        writer, _ = self._translate.writer(fields)
        alternatives = fields.integer("alternatives", 0, 0, MOST_ALTERNATIVES)
        pieces = plain(text)
        (found,) = await translated(writer, [pieces], 1 + alternatives, align=True)
        lines = [
            _line(source, outputs[0] if outputs else None)
            for source, outputs in zip(pieces.read, found.parts, strict=True)
        ]
        return JSONResponse(
            {
                "translatedText": found.texts[0],
                "alternatives": found.texts[1 : 1 + alternatives],
                "lines": lines,
                "errors": [{"line": line, "error": cause} for line, cause in found.errors.items()],
            }
        )


def page_text() -> str:
    """The page, which is one file."""
    return (files("attn_cli.serve") / "page.html").read_text(encoding="utf-8")


def _line(source: str, output: Written | None) -> dict[str, object]:
    """A line's words, those of its translation, and what joins them."""
    return {
        "source": source.split(),
        "target": output.text.split() if output else [],
        "links": [list(link) for link in (output.links if output else None) or ()],
        "weights": output.weights if output else None,
    }
