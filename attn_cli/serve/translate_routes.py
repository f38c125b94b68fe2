"""The routes of LibreTranslate's API that its clients use."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from attn_cli.serve.desk import Desk
from attn_cli.serve.fields import Fields
from attn_cli.serve.languages import name_of
from attn_cli.serve.models import ServedWriter
from attn_cli.serve.refusal import Refusal, bad_request
from attn_cli.serve.texts import marked_up, plain
from attn_cli.serve.translation import AUTO, Translated, languages, translated, writer_for

MOST_ALTERNATIVES = 20


class TranslateRoutes:
    """Answers as LibreTranslate does.

    Args:
        desk: what routes share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @property
    def routes(self) -> list[Route]:
        """All of them."""
        translate = self._desk.posted(self.translate, key_in_body=True)
        return [
            Route("/translate", translate, methods=["POST"]),
            Route("/languages", self.languages, methods=["GET"]),
            Route("/frontend/settings", self.settings, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
        ]

    async def translate(self, request: Request, fields: Fields) -> Response:
        """One text, or a list of them."""
        desk = self._desk
        texts, many = fields.texts("q")
        desk.check_texts(texts)
        source = fields.text("source", AUTO)
        kind = fields.choice("format", ("text", "html"), "text")
        alternatives = fields.integer("alternatives", 0, 0, MOST_ALTERNATIVES)
        writer, known_source = self.writer(fields)
        pieces = [marked_up(text) if kind == "html" else plain(text) for text in texts]
        lines = sum(len(each.read) for each in pieces)
        if lines > desk.limits.max_lines:
            raise bad_request(
                f"{lines:,} texts between tags, of {desk.limits.max_lines:,} that are allowed "
                "(--max-lines); send several requests"
            )
        n_best = 1 + alternatives if alternatives else None
        found = await translated(writer, pieces, n_best)
        answer: dict[str, object] = {"translatedText": _shaped([x.texts[0] for x in found], many)}
        if alternatives or writer.search.n_best > 1:
            most = (n_best or writer.search.n_best) - 1
            others: list[object] = [x.texts[1 : 1 + most] for x in found]
            answer["alternatives"] = others if many else others[0]
        if source == AUTO:  # nothing is detected: it is the only one that there is
            detected = [{"confidence": 0, "language": known_source} for _ in found]
            answer["detectedLanguage"] = detected if many else detected[0]
        if errors := _errors(found):
            answer["errors"] = errors
        return JSONResponse(answer)

    def writer(self, fields: Fields) -> tuple[ServedWriter, str]:
        """Who translates what is asked for, and from which language."""
        translators = self._desk.models.translators
        if not translators:
            raise Refusal(404, "no translator is served here")
        target = fields.value("target")
        return writer_for(
            translators,
            fields.text("source", AUTO) or AUTO,
            None if target in (None, "") else fields.text("target"),
        )

    async def languages(self, request: Request) -> Response:
        """What is translated into what."""
        return JSONResponse(list(languages(self._desk.models.translators)))

    async def settings(self, request: Request) -> Response:
        """What a page or a program has to know."""
        known = list(languages(self._desk.models.translators))
        first = next((entry for entry in known if entry["targets"]), None)
        codes = (first["code"], first["targets"][0]) if first else ("", "")
        named = {
            side: {"code": code, "name": name_of(code)}
            for side, code in zip(("source", "target"), codes, strict=True)
        }
        has_keys = bool(self._desk.keys)
        return JSONResponse(
            {
                "apiKeys": has_keys,
                "keyRequired": has_keys,
                "charLimit": self._desk.limits.max_chars,
                "frontendTimeout": 500,
                "suggestions": False,
                "filesTranslation": False,
                "supportedFilesFormat": [],
                "language": named,
            }
        )

    async def health(self, request: Request) -> Response:
        """That the server answers."""
        return JSONResponse({"status": "ok"})


def _shaped(texts: list[str], many: bool) -> object:
    return texts if many else texts[0]


def _errors(found: list[Translated]) -> list[dict[str, object]]:
    """What was left out, and why."""
    return [
        {"q": number, "line": line, "error": cause}
        for number, each in enumerate(found)
        for line, cause in each.errors.items()
    ]
