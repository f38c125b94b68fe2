"""How a Marian model's files want it to write, in the terms of `decode`, and back.

There a limit counts the token that begins an output and the one that is forced to end it, and a
list of bad words keeps a search from special tokens, which have a probability all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attn_cli.config.generation import GenerationDefaults
from attn_cli.convert.generation_settings import write_generation
from attn_cli.convert.marian_tokenizer import SpecialIds

_BAD, _FORCED_END = "bad_words_ids", "forced_eos_token_id"
_BEAM = 5  # of `decode`, where a model does not say another one


def adapted(values: Mapping[str, object], ids: SpecialIds) -> dict[str, object]:
    """The settings as a language model would have them, without those that are kept elsewhere.

    Args:
        values: of generation_config.json or config.json.
        ids: the model's special tokens.
    """
    found = dict(values)
    found[_BAD] = [word for word in _words(values) if len(word) > 1]
    forced = found.get(_FORCED_END) in (ids.eos, [ids.eos])
    if forced:
        del found[_FORCED_END]
    longest, shortest = found.pop("max_length", None), found.pop("min_length", None)
    if type(longest) is int and found.get("max_new_tokens") is None:
        found["max_new_tokens"] = longest - 1
    if type(shortest) is int and shortest > 1 and found.get("min_new_tokens") is None:
        found["min_new_tokens"] = shortest - 1
    limit = found.get("max_new_tokens")
    if forced and type(limit) is int:
        found["max_new_tokens"] = max(1, limit - 1)
    return found


def impossible_ids(
    values: Mapping[str, object], ids: SpecialIds, never_written: Collection[int], n_tokens: int
) -> list[int]:
    """The tokens whose probability is 0.

    A bad word has none where what remains is made to sum to 1 again. Where it is not, the special
    tokens that `decode` never writes keep theirs, as there.

    Args:
        values: of generation_config.json or config.json.
        ids: the model's special tokens.
        never_written: what `decode` never writes.
        n_tokens: tokens of the target.
    """
    single = {word[0] for word in _words(values) if len(word) == 1} - {ids.eos}
    if values.get("renormalize_logits") is not True:
        single -= set(never_written)
    return sorted(index for index in single if 0 <= index < n_tokens)


def _words(values: Mapping[str, object]) -> list[list[int]]:
    """Lists of tokens; what is none is left out."""
    words = values.get(_BAD)
    lists = [word for word in words if isinstance(word, list)] if isinstance(words, list) else []
    return [word for word in lists if word and all(type(index) is int for index in word)]


def marian_generation(
    own: GenerationDefaults, ids: SpecialIds, never_written: Collection[int], n_positions: int
) -> dict[str, object]:
    """The content of generation_config.json.

    Args:
        own: how our model was made to write.
        ids: its special tokens.
        never_written: tokens that no output has.
        n_positions: tokens of the longest text.
    """
    found = write_generation(own)
    for key in ("max_new_tokens", "min_new_tokens"):
        found.pop(key, None)
    found["max_length"] = n_positions if own.max_len is None else own.max_len + 2
    if own.min_len:
        found["min_length"] = own.min_len + 1
    if not own.sample and own.beam != 1:
        found = {"num_beams": _BEAM, "early_stopping": "never", "length_penalty": 1.0, **found}
    return {
        **found,
        _BAD: [[index] for index in dict.fromkeys(never_written)],
        _FORCED_END: ids.eos,
        "decoder_start_token_id": ids.start,
        "eos_token_id": ids.eos,
        "pad_token_id": ids.pad,
    }
