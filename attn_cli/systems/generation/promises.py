"""What options promise of every output: kept, or the line is named.

A forced prefix, phrases, a minimum length, several outputs: what can't be kept is told from the
line before anything is searched; whether it was kept, from the outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from attn_cli.config import shown
from attn_cli.config.decoding import SearchOptions
from attn_cli.lines.rows import is_blank
from attn_cli.search.constraints import Constraints
from attn_cli.search.search import Hypothesis, Request
from attn_cli.systems.generation.generator import Generator, Source
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.wording import plural

_NAMED = 5  # characters that a tokenizer lacks


def refusal(generator: Generator, sources: Sequence[Source], search: SearchOptions) -> str | None:
    """Why a line can't be answered as was asked; None if it can.

    Args:
        generator: the model.
        sources: the line's parts, the first of them with its prefix and its phrases.
        search: what else is asked for.
    """
    source = sources[0]
    steers = [f"the prefix {shown(source.prefix)}"] if source.prefix.strip() else []
    steers += [f"the phrase {shown(phrase)}" for phrase in source.phrases]
    if is_blank(source.text):
        return f"{steers[0]} is asked for, but the source is blank" if steers else None
    if not any(map(generator.knows, sources)):
        return "no character of it is known to the model's tokenizer"
    texts = [source.prefix, *source.phrases] if source.prefix.strip() else source.phrases
    for what, text in zip(steers, texts, strict=True):
        if cause := _unsayable(generator.tgt, text):
            return f"{what} {cause}"
    if steers or search.min_len:
        (request,) = generator.requests([source], search)
        return _no_room(request, search)
    return None


def _unsayable(tokenizer: Tokenizer, text: str) -> str | None:
    """Why no output can hold a text."""
    if lacking := tokenizer.lacking(text):
        few = ", ".join(map(repr, lacking[:_NAMED]))
        more = f" and {len(lacking) - _NAMED:,} more" if len(lacking) > _NAMED else ""
        return f"has {few}{more}, which the model's tokenizer lacks"
    return None if tokenizer.encode([text])[0] else "has no token"


def _no_room(request: Request, search: SearchOptions) -> str | None:
    """Why an output can't be as long as it must."""
    room = request.max_len - request.given
    limit = f"--max-len is {search.max_len:,}" if search.max_len == room else ""
    limit = limit or f"there is room for {plural(room, 'token')}"
    n_prefix = len(request.prefix) - request.given
    if n_prefix > room:
        return f"the prefix has {plural(n_prefix, 'token')}, but {limit}"
    if search.min_len > room:
        return f"--min-len is {search.min_len:,}, but {limit}"
    phrases = Constraints(request.constraints)
    owed = phrases.owed(reduce(phrases.advance, request.prefix, phrases.start()))
    if n_prefix + owed > room:
        what = "prefix and phrases have" if n_prefix else "phrases have"
        return f"its {what} {plural(n_prefix + owed, 'token')}, but {limit}"
    return None


def broken(
    generator: Generator, source: Source, found: Sequence[Hypothesis], search: SearchOptions
) -> str | None:
    """Which promise the outputs of an input do not keep; None if all are kept."""
    for output in found:
        if cause := _unkept(generator, source, output, search):
            return cause
    return None


def _unkept(
    generator: Generator, source: Source, output: Hypothesis, search: SearchOptions
) -> str | None:
    tokenizer = generator.tgt
    wanted = [source.prefix, *source.phrases]
    if any(wanted):
        # As the tokenizer writes them: without doubled spaces, say.
        ids = [output.tokens, *tokenizer.encode(wanted)]
        said, prefix, *phrases = (text.strip() for text in tokenizer.decode(ids))
        if not said.startswith(prefix):
            return f"no output was found that begins with the prefix {shown(source.prefix)}"
        for phrase, asked in zip(phrases, source.phrases, strict=True):
            if phrase not in said:
                return f"no output was found that has the phrase {shown(asked)}"
    size = generator.n_written(source, output)
    if size < search.min_len:
        return f"its output has {plural(size, 'token')}, but --min-len is {search.min_len:,}"
    n = search.no_repeat_ngram
    first = len(output.tokens) - size
    grams = [output.tokens[at : at + n] for at in range(len(output.tokens) - n + 1)] if n else []
    # One that ends within the input is the input's own.
    fresh = [gram for at, gram in enumerate(grams) if at + n > first]
    if len(set(grams)) < len(grams) and any(grams.count(gram) > 1 for gram in fresh):
        return f"what it must hold repeats a sequence of {plural(n, 'token')} (--no-repeat-ngram)"
    return None
