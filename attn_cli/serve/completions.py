"""OpenAI's completions: what a language model goes on with, whole or as it is written."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from attn_cli.config.decoding import SearchOptions
from attn_cli.errors import AttnError
from attn_cli.serve.desk import Desk, chosen, raised
from attn_cli.serve.fields import Fields
from attn_cli.serve.models import ServedWriter
from attn_cli.serve.refusal import Refusal, bad_request, openai_error
from attn_cli.serve.writing import Ask, Input, Written, changed_search, settled

_MOST_CHOICES = 128
_MOST_STOPS = 4
_MAX_TOKENS = 16  # OpenAI's own default
_LONGEST = 1_000_000
_NOT_DONE: Mapping[str, Sequence[object]] = {
    "logprobs": (False, 0),
    "suffix": ("",),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
}


@dataclass(frozen=True)
class _Completion:
    """What a request for completions asks for.

    Attributes:
        model: what the model is called.
        writer: the model.
        prompts: what is continued.
        ask: how.
        stops: texts at which an output ends.
        echo: whether the prompt stands before the output.
        usage: whether a stream ends with the count of tokens.
    """

    model: str
    writer: ServedWriter
    prompts: list[str]
    ask: Ask
    stops: list[str]
    echo: bool
    usage: bool


class Completions:
    """Answers requests for completions.

    Args:
        desk: what routes share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def answer(self, request: Request, fields: Fields) -> Response:
        """What a language model goes on with; at once, or choice by choice as they are ready."""
        asked = self._completion(fields)
        head: dict[str, object] = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": asked.model,
        }
        if fields.flag("stream"):
            return StreamingResponse(self._events(asked, head), media_type="text/event-stream")
        inputs = [Input(prompt, number) for number, prompt in enumerate(asked.prompts, 1)]
        answers = await self._answers(asked, inputs)
        choices = [choice for number, each in enumerate(answers)
                   for choice in _choices(asked, number, each)]  # fmt: skip
        return JSONResponse({**head, "choices": choices, "usage": _usage(answers)})

    def _completion(self, fields: Fields) -> _Completion:
        """Reads the fields of a request.

        Raises:
            Refusal: one of them is wrong, or asks for what is not done here.
        """
        fields.refuse(_NOT_DONE)
        name = None if fields.value("model") is None else fields.text("model")
        model, writer = chosen(self._desk.models.language_models, name, "a language model")
        prompts, _ = fields.texts("prompt")
        self._desk.check_texts(prompts)
        n = fields.integer("n", writer.search.n_best, 1, _MOST_CHOICES)
        if fields.integer("best_of", n, 1, _MOST_CHOICES) != n:
            raise bad_request("best_of: only as many as n are made; leave it out")
        stops = [] if fields.value("stop") is None else fields.texts("stop")[0]
        if len(stops) > _MOST_STOPS or "" in stops:
            raise bad_request(f"stop: a text, or a list of up to {_MOST_STOPS} that are not empty")
        options = fields.value("stream_options")
        usage = isinstance(options, dict) and options.get("include_usage") is True
        search = _search(fields, writer.search, n)
        seed = fields.integer("seed", writer.seed, 0, 2**31 - 1)
        return _Completion(
            model, writer, prompts, Ask(search, seed), stops, fields.flag("echo"), usage
        )

    async def _answers(self, asked: _Completion, inputs: Sequence[Input]) -> list[list[Written]]:
        """The outputs for prompts.

        Raises:
            Refusal: one of them can't be continued.
        """
        found = await asked.writer.batcher.answered(asked.ask, inputs)
        for answer in found:
            if isinstance(answer, AttnError):
                raise raised(answer)
            if not answer:
                raise bad_request("prompt: a blank text can't be continued")
        return [answer for answer in found if not isinstance(answer, AttnError)]

    async def _events(self, asked: _Completion, head: Mapping[str, object]) -> AsyncIterator[str]:
        """The choices as server-sent events, prompt by prompt.

        An output that is searched alone comes as it is written, others when they are whole.
        """
        done: list[list[Written]] = []
        try:
            async with asyncio.timeout(self._desk.limits.timeout):
                for number in range(len(asked.prompts)):
                    async for choice in self._streamed(asked, number, done):
                        yield _event({**head, "choices": [choice]})
            if asked.usage:
                yield _event({**head, "choices": [], "usage": _usage(done)})
        except Refusal as refusal:
            yield _event(openai_error(refusal.status, refusal.cause, refusal.code))
        except TimeoutError:
            cause = f"no answer within {self._desk.limits.timeout:g} seconds (--timeout)"
            yield _event(openai_error(504, cause, None))
        yield "data: [DONE]\n\n"

    async def _streamed(
        self, asked: _Completion, number: int, done: list[list[Written]]
    ) -> AsyncIterator[dict[str, object]]:
        """The choices of a prompt, piece by piece; its outputs go to `done`."""
        loop, said = asyncio.get_running_loop(), asyncio.Queue[str | None]()
        alone = asked.ask.search.width == 1

        def told(text: str) -> None:
            with contextlib.suppress(RuntimeError):  # nobody is there any more
                loop.call_soon_threadsafe(said.put_nowait, text)

        prompt = Input(asked.prompts[number], number + 1, told if alone else None)
        work = asyncio.ensure_future(self._answers(asked, [prompt]))
        work.add_done_callback(lambda _: said.put_nowait(None))
        sent = ""
        try:
            while (text := await said.get()) is not None:
                text = (prompt.text if asked.echo else "") + _certain(text, asked.stops)
                if len(text) > len(sent) and text.startswith(sent):
                    index = number * asked.ask.search.n_best
                    yield _choice(text[len(sent) :], index, None)
                    sent = text
            (outputs,) = await work
        finally:
            work.cancel()
        done.append(outputs)
        for choice in _choices(asked, number, outputs):
            yield {**choice, "text": str(choice["text"]).removeprefix(sent)}


def _search(fields: Fields, usual: SearchOptions, n: int) -> SearchOptions:
    """How outputs are looked for: as the server does, but for what a request says.

    A temperature, or top_p, asks for drawing; a temperature of 0 for the likeliest.
    """
    temperature = fields.number("temperature", 0.0, 100.0)
    top_p = fields.number("top_p", 1e-6, 1.0)
    most = fields.integer("max_tokens", usual.max_len or _MAX_TOKENS, 1, _LONGEST)
    search = changed_search(usual, max_len=most, min_len=min(most, usual.min_len))
    apart = {"diversity": 0.0, "diversity_groups": None}
    if temperature == 0.0:
        plain = {"sample": False, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        search = changed_search(search, **plain, **apart, greedy=True)
    elif temperature is not None or top_p is not None:
        drawn: dict[str, object] = {"sample": True, "greedy": False, **apart}
        if temperature is not None:
            drawn["temperature"] = max(temperature, 0.01)
        if top_p is not None:
            drawn["top_p"] = top_p
        search = changed_search(search, **drawn)
    return settled(search, n)


def _choices(
    asked: _Completion, number: int, outputs: Sequence[Written]
) -> list[dict[str, object]]:
    """The outputs for a prompt, as they are told."""
    n = asked.ask.search.n_best
    found: list[dict[str, object]] = []
    for rank, output in enumerate(outputs):
        ends = [place for stop in asked.stops if (place := output.text.find(stop)) >= 0]
        text = output.text[: min(ends)] if ends else output.text
        text = asked.prompts[number] + text if asked.echo else text
        reason = "stop" if ends or output.finished else "length"
        found.append(_choice(text, number * n + rank, reason))
    return found


def _choice(text: str, index: int, reason: str | None) -> dict[str, object]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": reason}


def _certain(text: str, stops: Sequence[str]) -> str:
    """What of an output so far will stand in it: no half of a character, and no begun stop."""
    ends = [place for stop in stops if (place := text.find(stop)) >= 0]
    text = text[: min(ends)] if ends else text
    held = 0 if ends else max((len(stop) - 1 for stop in stops), default=0)
    return text[: len(text) - held].rstrip("\N{REPLACEMENT CHARACTER}") if held < len(text) else ""


def _usage(answers: Sequence[Sequence[Written]]) -> dict[str, int]:
    read = sum(outputs[0].n_read for outputs in answers if outputs)
    made = sum(output.n_written for outputs in answers for output in outputs)
    return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}


def _event(value: Mapping[str, object]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
