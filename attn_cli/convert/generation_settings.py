"""How a foreign language model's files want it to write: said as options of `decode`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from attn_cli.config import load_json, shown
from attn_cli.convert.huggingface_specials import CONFIG, GENERATION
from attn_cli.files import inside

# Their setting -> the option of `decode` that is the same, and the value that changes nothing.
_OPTIONS: dict[str, tuple[str, object]] = {
    "num_beams": ("--beam", 1),
    "max_new_tokens": ("--max-len", None),
    "min_new_tokens": ("--min-len", 0),
    "no_repeat_ngram_size": ("--no-repeat-ngram", 0),
}
_BEAMS: dict[str, tuple[str, object]] = {"length_penalty": ("--length-penalty", 1.0)}
_SAMPLING: dict[str, tuple[str, object]] = {
    "temperature": ("--temperature", 1.0),
    "top_k": ("--top-k", 0),
    "top_p": ("--top-p", 1.0),
}
# Settings that `decode` has not, and the values that change nothing.
_WITHOUT: dict[str, tuple[object, ...]] = {
    "repetition_penalty": (1.0,),
    "encoder_repetition_penalty": (1.0,),
    "encoder_no_repeat_ngram_size": (0,),
    "bad_words_ids": ([],),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "forced_decoder_ids": ([],),
    "sequence_bias": ({},),
    "num_beam_groups": (1,),
    "diversity_penalty": (0.0,),
    "penalty_alpha": (0.0,),
    "typical_p": (1.0,),
    "min_p": (0.0,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "guidance_scale": (1.0,),
    "stop_strings": ([],),
    "exponential_decay_length_penalty": (),
    "watermarking_config": (),
}


def say_generation(folder: Path, say: Callable[[str], None]) -> None:
    """Says which options of `decode` a directory's settings are, and which have none."""
    name = GENERATION if (folder / GENERATION).exists() else CONFIG
    values = {"top_k": 50, **load_json(inside(folder, name))}  # theirs, where nothing is said
    table = dict(_OPTIONS)
    options = []
    if values.get("do_sample") is True:
        options.append("--sample")
        table |= _SAMPLING
    if _differs(values, "num_beams", 1):
        table |= _BEAMS
    options += [
        f"{option} {shown(values[key])}"
        for key, (option, usual) in table.items()
        if _differs(values, key, usual)
    ]
    if options:
        say(
            f"{folder / name}: texts are meant to be written with {' '.join(options)}; give these "
            "options to attn decode, which has defaults of its own"
        )
    lacking = [
        f"{key} {shown(values[key])}"
        for key, usual in _WITHOUT.items()
        if values.get(key) is not None and values[key] not in usual
    ]
    if lacking:
        say(f"{folder / name}: {', '.join(lacking)}: attn decode has no such option; not kept")


def _differs(values: Mapping[str, object], key: str, usual: object) -> bool:
    value = values.get(key)
    return value is not None and value != usual
