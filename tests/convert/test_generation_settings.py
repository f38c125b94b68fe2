"""Generation settings of a foreign language model: `decode` writes as transformers does by them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from program import inside
from tiny_models import edit_config, save_gpt, transformers

from attn_cli.models.directory import read_config
from attn_cli.systems.generation.lines import one_field
from attn_cli.tokenizers.tokenizer_files import load_tokenizer

JSON = ("--format", "json")
PROMPTS = ["the cat sat", "a dog of the mat", "he", "that mat on a cat"]
IDS = {"bos_token_id": 0, "eos_token_id": 0}


def save(folder: Path, settings: dict) -> torch.nn.Module:
    """A random GPT-2 whose texts differ, and often end before their limit."""
    model = save_gpt(folder, tie_word_embeddings=False)
    torch.manual_seed(2)
    with torch.no_grad():
        model.transformer.wte.weight.normal_()
        model.transformer.wpe.weight.normal_(0, 0.5)
        model.lm_head.weight.normal_(0, 0.35)
        model.lm_head.weight[IDS["eos_token_id"]] *= 2
    model.generation_config = transformers.GenerationConfig(**settings, **IDS)
    model.save_pretrained(folder)
    return model


def written(folder: Path, *options: object, prompts: list[str] = PROMPTS):
    stdin = "".join(f"{prompt}\n" for prompt in prompts).encode()
    return inside("decode", "-m", folder, "--device", "cpu", *options, stdin=stdin)


def theirs(model: torch.nn.Module, folder: Path, **settings: object) -> list[str]:
    """What transformers writes, by the settings of the directory it was loaded from."""
    tokenizer = load_tokenizer(str(folder))
    found = []
    for prompt in PROMPTS:
        ids = torch.tensor([[tokenizer.bos_id, *tokenizer.encode([prompt])[0]]])
        with torch.no_grad():
            row = model.generate(ids, pad_token_id=0, **settings)[0].tolist()
        # At its limit ours ranks an output with its end, theirs without.
        assert row[-1] == 0 or model.generation_config.num_beams == 1
        found.append(one_field(tokenizer.decode([[i for i in row if i]])[0]))
    return found


GREEDY = {"num_beams": 1, "max_new_tokens": 9}
BEAMS = {"num_beams": 4, "max_new_tokens": 20, "early_stopping": "never", "length_penalty": 0.5}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (GREEDY, "--beam 1 --max-len 9"),
        ({**GREEDY, "no_repeat_ngram_size": 2}, "--beam 1 --max-len 9 --no-repeat-ngram 2"),
        ({**GREEDY, "min_new_tokens": 6}, "--beam 1 --max-len 9 --min-len 6"),
        (BEAMS, "--beam 4 --stopping bound --length-penalty 0.5 --max-len 20"),
        (
            {**BEAMS, "length_penalty": 0.75},
            "--beam 4 --stopping bound --length-penalty 0.75 --max-len 20",
        ),
        (
            {**BEAMS, "length_penalty": 0.0},
            "--beam 4 --stopping bound --length-penalty 0.0 --max-len 20",
        ),
        (
            {**BEAMS, "early_stopping": True},
            "--beam 4 --stopping count --length-penalty 0.5 --max-len 20",
        ),
    ],
)
def test_decode_writes_what_transformers_writes(tmp_path, settings, said):
    save(tmp_path / "hf", settings)
    told = inside("convert", tmp_path / "hf", "-o", tmp_path / "m").said
    kept = f"texts are written with {said}: the defaults of attn decode for this model"
    assert f"{tmp_path / 'hf' / 'generation_config.json'}: {kept}" in told
    run = written(tmp_path / "m")
    expected = theirs(
        transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "hf").eval(), tmp_path / "m"
    )
    assert run.lines == expected
    assert f"{tmp_path / 'm'}: written with {said}, as its files say" in run.said
    inside("convert", tmp_path / "m", "--to", "huggingface", "-o", tmp_path / "back")
    back = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "back").eval()
    assert theirs(back, tmp_path / "m") == expected


DRAWN = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 6}


def test_an_option_that_is_given_wins(tmp_path):
    save(tmp_path / "hf", DRAWN)
    inside("convert", tmp_path / "hf", "-o", tmp_path / "m")
    save(tmp_path / "plain-hf", {})
    inside("convert", tmp_path / "plain-hf", "-o", tmp_path / "plain")
    own = ("--sample", "--temperature", 0.7, "--top-k", 50, "--top-p", 0.9, "--max-len", 6)
    for given, options, said in (
        ((), own, "--sample --temperature 0.7 --top-k 50 --top-p 0.9 --max-len 6"),
        (("--seed", 2), (*own, "--seed", 2), "--sample"),
        (("--max-len", 4), (*own[:-1], 4), "--temperature 0.7"),
        (("--sample", "--top-k", 3), (*own[:3], "--top-k", 3, *own[5:]), "--top-p 0.9"),
        (("--greedy",), ("--greedy", "--max-len", 6), "written with --max-len 6, as"),
        (("--beam", 5), ("--max-len", 6), "written with --max-len 6, as"),
        (("--no-sample",), ("--max-len", 6), "written with --max-len 6, as"),
        (
            ("--n-best", 2, "--format", "json"),
            (*own, "--n-best", 2, "--format", "json"),
            "--sample",
        ),
        (("--min-len", 8), (*own[:-2], "--min-len", 8), "--sample"),
    ):
        run = written(tmp_path / "m", *given)
        assert run.lines == written(tmp_path / "plain", *options).lines, given
        assert said in run.said, given
    (tmp_path / "o.toml").write_text("greedy = true\n")
    run = written(tmp_path / "m", "--config", tmp_path / "o.toml")
    assert run.lines == written(tmp_path / "plain", "--greedy", "--max-len", 6).lines
    given = ("--greedy", "--max-len", 6)
    assert "as its files say" not in written(tmp_path / "m", *given).said


def test_more_outputs_than_the_models_beam_take_attns_own(tmp_path):
    save(tmp_path / "hf", {"num_beams": 2, "max_new_tokens": 4, "min_new_tokens": 2})
    inside("convert", tmp_path / "hf", "-o", tmp_path / "m")
    options = ("--n-best", 3, "--format", "json", "--max-len", 1)
    said = written(tmp_path / "m", *options, prompts=["the cat"]).said
    assert "as its files say" not in said


@pytest.mark.parametrize(
    ("settings", "kept", "named"),
    [
        (
            {"repetition_penalty": 1.2, "max_new_tokens": 5},
            {"max_len": 5},
            ["repetition_penalty 1.2"],
        ),
        ({"bad_words_ids": [[3]]}, {}, ["bad_words_ids [[3]]"]),
        ({"max_length": 50}, {}, ["max_length 50 (which counts the prompt)"]),
        ({"max_length": 20, "min_length": 0}, {}, []),
        ({"min_length": 9}, {}, ["min_length 9 (which counts the prompt)"]),
        ({"temperature": 0.7, "top_k": 5}, {}, []),  # nothing is drawn
        ({"length_penalty": 2.0}, {}, []),  # there is one beam
        (
            {"do_sample": True, "num_beams": 3},
            {"sample": True, "top_k": 50},
            ["num_beams 3 with do_sample"],
        ),
        (
            {"do_sample": True, "top_k": 0, "temperature": 1000.0},
            {"sample": True, "top_k": 0},
            ["temperature: 1000.0 is above 100.0"],
        ),
        (
            {"max_new_tokens": 5, "min_new_tokens": 7},
            {"max_len": 5},
            ["min_new_tokens 7 above max_new_tokens 5"],
        ),
        ({"num_beams": "four"}, {}, ["beam: a whole number is needed, not 'four'"]),
    ],
)
def test_what_is_kept_and_what_is_named(tmp_path, settings, kept, named):
    save_gpt(tmp_path / "hf")
    file = tmp_path / "hf" / "generation_config.json"
    file.write_text(json.dumps({**settings, **IDS}))
    said = inside("convert", tmp_path / "hf", "-o", tmp_path / "m").said
    options = read_config(tmp_path / "m").options
    assert {k: v for k, v in options.get("generation", {}).items() if v is not None} == kept
    assert all(name in said for name in named)
    assert ("attn decode has no such option; not kept" in said) == bool(named)
    assert ("texts are written with" in said) == bool(kept)


def test_settings_of_config_json_and_of_its_task_count_as_in_transformers(tmp_path):
    save_gpt(tmp_path / "hf")
    edit_config(
        tmp_path / "hf",
        num_beams=3,
        max_new_tokens=7,
        task_specific_params={"text-generation": {"do_sample": True, "max_length": 50}},
    )
    file = tmp_path / "hf" / "generation_config.json"
    file.write_text(json.dumps({"max_new_tokens": 5, **IDS}))
    said = inside("convert", tmp_path / "hf", "-o", tmp_path / "m").said
    where = f"{file} and task_specific_params of config.json"
    assert f"{where}: texts are written with --sample --top-k 50 --max-len 5" in said
    assert f"{where}: max_length 50 (which counts the prompt)" in said
    file.unlink()
    said = inside("convert", tmp_path / "hf", "-o", tmp_path / "n").said
    assert f"{tmp_path / 'hf' / 'config.json'}: texts are written with --sample" in said
    assert "--max-len 7" in said


def test_settings_that_are_damaged_are_refused_by_name(tmp_path):
    save(tmp_path / "hf", GREEDY)
    inside("convert", tmp_path / "hf", "-o", tmp_path / "m")
    values = json.loads((tmp_path / "m" / "config.json").read_text())
    values["options"]["generation"]["beams"] = 3
    (tmp_path / "m" / "config.json").write_text(json.dumps(values))
    run = inside("decode", "-m", tmp_path / "m", stdin=b"the\n", status=3)
    assert "generation: unknown option 'beams' (did you mean beam?)" in run.said
