"""The routes of OpenAI's API that its clients use: completions, embeddings, models."""

from __future__ import annotations

import base64
import time
from array import array
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from attn_cli.errors import AttnError
from attn_cli.serve.completions import Completions
from attn_cli.serve.desk import Desk, chosen
from attn_cli.serve.fields import Fields
from attn_cli.serve.refusal import bad_request

_LONGEST = 1_000_000


class OpenAiRoutes:
    """Answers as OpenAI's API does.

    Args:
        desk: what routes share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._begun = int(time.time())

    @property
    def routes(self) -> list[Route]:
        """All of them."""
        posted, completions = self._desk.posted, Completions(self._desk)
        return [
            Route("/v1/completions", posted(completions.answer), methods=["POST"]),
            Route("/v1/embeddings", posted(self.embeddings), methods=["POST"]),
            Route("/v1/models", self.models, methods=["GET"]),
        ]

    async def models(self, request: Request) -> Response:
        """What is served."""
        self._desk.check_key(request)
        data = [
            {"id": name, "object": "model", "created": self._begun, "owned_by": "attn"}
            for name in self._desk.models.names
        ]
        return JSONResponse({"object": "list", "data": data})

    async def embeddings(self, request: Request, fields: Fields) -> Response:
        """A vector for each text."""
        name = None if fields.value("model") is None else fields.text("model")
        model, batcher = chosen(self._desk.models.encoders, name, "an encoder")
        texts, _ = fields.texts("input")
        if not texts:
            raise bad_request("input: at least one text is needed")
        self._desk.check_texts(texts)
        form = fields.choice("encoding_format", ("float", "base64"), "float")
        found = await batcher.answered(None, texts)
        data, n_tokens = [], 0
        for number, answer in enumerate(found):
            if isinstance(answer, AttnError):
                raise bad_request(f"input[{number}]: {answer}")
            size = fields.integer("dimensions", len(answer.vector), 1, _LONGEST)
            if size != len(answer.vector):
                raise bad_request(f"dimensions: this model's vectors have {len(answer.vector)}")
            vector = _as_base64(answer.vector) if form == "base64" else answer.vector
            data.append({"object": "embedding", "index": number, "embedding": vector})
            n_tokens += answer.n_tokens
        usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
        return JSONResponse({"object": "list", "data": data, "model": model, "usage": usage})


def _as_base64(vector: Sequence[float]) -> str:
    """Little-endian float32, as OpenAI's clients read it."""
    numbers = array("f", vector)
    if array("H", [1]).tobytes()[0] == 0:  # a big-endian machine
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode("ascii")
