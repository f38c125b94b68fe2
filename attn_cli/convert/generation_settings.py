"""How a foreign model's files want it to write, as defaults of `decode`, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from attn_cli.config import load_json, shown
from attn_cli.config.generation import GenerationDefaults, as_flags
from attn_cli.convert.huggingface_specials import CONFIG, GENERATION
from attn_cli.errors import DataError
from attn_cli.files import inside

_TASKS, _TASK = "task_specific_params", "text-generation"
_TOP_K = 50  # theirs, where they draw and say nothing
# Their setting -> ours.
_ALWAYS = {
    "max_new_tokens": "max_len",
    "min_new_tokens": "min_len",
    "no_repeat_ngram_size": "no_repeat_ngram",
}
_BEAMS = {"num_beams": "beam", "length_penalty": "length_penalty"}
_SAMPLING = {"temperature": "temperature", "top_k": "top_k", "top_p": "top_p"}
_STOPPING = {True: "count", "never": "bound"}  # early_stopping; theirs of False is another rule
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
# Limits that count the prompt, and the values that stand in files where nobody chose one.
_TOTAL: dict[str, tuple[int, ...]] = {"max_length": (20,), "min_length": (0,)}


def read_generation(folder: Path, say: Callable[[str], None]) -> GenerationDefaults:
    """A language model's settings as defaults of `decode`; says what is kept, and what can't be."""
    values, name = generation_values(folder, _TASK)
    return kept_settings(values, f"{folder}/{name}", say)


def generation_values(folder: Path, task: str = "") -> tuple[dict[str, object], str]:
    """A directory's settings, and the names of the files that say them.

    generation_config.json counts, without one config.json; over it what config.json says of a
    task, as in transformers.
    """
    config = load_json(inside(folder, CONFIG))
    name = GENERATION if (folder / GENERATION).exists() else CONFIG
    values = load_json(inside(folder, name)) if name == GENERATION else dict(config)
    tasks = config.get(_TASKS)
    of_task = tasks.get(task) if isinstance(tasks, dict) else None
    if isinstance(of_task, dict):
        values |= of_task
        name = f"{name} and {_TASKS} of {CONFIG}" if name != CONFIG else name
    return values, name


def kept_settings(
    values: Mapping[str, object], where: str, say: Callable[[str], None]
) -> GenerationDefaults:
    """Settings as defaults of `decode`; says what is kept, and what can't be.

    Args:
        values: a language model's settings.
        where: the files that say them.
        say: is told.
    """
    kept, lacking = _translated(values)
    if kept.said:
        say(
            f"{where}: texts are written with {as_flags(kept.said)}: the defaults of attn decode "
            "for this model"
        )
    if lacking:
        say(f"{where}: {', '.join(lacking)}: attn decode has no such option; not kept")
    return kept


def _translated(values: Mapping[str, object]) -> tuple[GenerationDefaults, list[str]]:
    """What is an option of `decode`, and what is none."""
    draws, n_beams = values.get("do_sample") is True, values.get("num_beams")
    searches = n_beams not in (None, 1)
    table = {**_ALWAYS, **(_SAMPLING if draws else _BEAMS if searches else {})}
    found: dict[str, object] = {
        ours: values[theirs] for theirs, ours in table.items() if _is(values, theirs)
    }
    if draws:
        found = {"sample": True, "top_k": _TOP_K, **found}
    elif n_beams == 1:
        found["beam"] = 1
    stopping = values.get("early_stopping")
    if searches and not draws and isinstance(stopping, bool | str) and stopping in _STOPPING:
        found["stopping"] = _STOPPING[stopping]
    lacking = [
        f"{key} {shown(values[key])}"
        for key, usual in _WITHOUT.items()
        if _is(values, key) and values[key] not in usual
    ]
    lacking += [
        f"{key} {shown(values[key])} (which counts the prompt)"
        for key, usual in _TOTAL.items()
        if _is(values, key) and values[key] not in usual
    ]
    lacking += [f"num_beams {shown(n_beams)} with do_sample"] if searches and draws else []
    return _usable(found, lacking), lacking


def _is(values: Mapping[str, object], key: str) -> bool:
    return values.get(key) is not None


def _usable(found: Mapping[str, object], lacking: list[str]) -> GenerationDefaults:
    """The settings whose values an option can have; the others are added to `lacking`."""
    good: dict[str, object] = {}
    for name, value in found.items():
        try:
            GenerationDefaults.read({name: value}, name)
        except DataError as error:
            lacking.append(str(error))
        else:
            good[name] = value
    shortest, longest = good.get("min_len"), good.get("max_len")
    if isinstance(shortest, int) and isinstance(longest, int) and shortest > longest:
        lacking.append(f"min_new_tokens {good.pop('min_len')} above max_new_tokens {longest}")
    return GenerationDefaults.read(good, GENERATION)


def write_generation(defaults: GenerationDefaults) -> dict[str, object]:
    """The same as their settings."""
    names = {ours: theirs for theirs, ours in (_ALWAYS | _BEAMS | _SAMPLING).items()}
    said = defaults.said
    found: dict[str, object] = {names[ours]: said[ours] for ours in said if ours in names}
    if defaults.sample is not None:
        found["do_sample"] = defaults.sample
    if defaults.stopping is not None:
        found["early_stopping"] = {o: t for t, o in _STOPPING.items()}[defaults.stopping]
    return found
