"""Sentence-embedding directories: their pooling, normalization and prompts, or a refusal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from program import attn, inside
from tiny_models import save_bert, transformers

LINES = ["the cat sat on the mat", "He ran", "a dog of the dog ?"]
TYPES = "sentence_transformers.models."


def write(file: Path, values: object) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(values), encoding="utf-8")


def save_embedding(
    folder: Path,
    kinds: tuple[str, ...] = ("Transformer", "Pooling", "Normalize"),
    below: str = "",
    pooling: dict | None = None,
) -> torch.nn.Module:
    folder.mkdir()
    model = save_bert(folder / below if below else folder)
    paths = [below, "1_Pooling", "2_Normalize"]
    rows = [
        {"idx": i, "name": str(i), "path": path, "type": TYPES + kind}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=False))
    ]
    write(folder / "modules.json", rows)
    write(folder / "1_Pooling" / "config.json", pooling or {"pooling_mode_cls_token": True})
    return model


def embed(folder: Path, *options: object, lines: list[str] = LINES) -> np.ndarray:
    text = "".join(f"{line}\n" for line in lines).encode()
    found = inside("embed", "-m", folder, "--device", "cpu", *options, stdin=text).lines
    return np.array([json.loads(line)["vector"] for line in found])


def theirs(model, folder: Path, pool: str, *, normalize: bool, before: str = "") -> np.ndarray:
    tokenizer = transformers.BertTokenizerFast.from_pretrained(folder)
    found = []
    for line in LINES:
        with torch.no_grad():
            hidden = model(**tokenizer(before + line, return_tensors="pt")).last_hidden_state[0]
        pooled = {"cls": hidden[0], "mean": hidden.mean(0), "max": hidden.amax(0)}[pool]
        found.append(pooled / pooled.norm() if normalize else pooled)
    return torch.stack(found).numpy()


@pytest.mark.parametrize("pool", ["cls", "mean", "max"])
@pytest.mark.parametrize("normalize", [True, False])
def test_pooling_and_normalization_become_the_defaults_of_embed(tmp_path, pool, normalize):
    kinds = ("Transformer", "Pooling", *(["Normalize"] if normalize else []))
    names = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
    pooling = {f"pooling_mode_{name}": key == pool for key, name in names.items()}
    model = save_embedding(tmp_path / "st", kinds, pooling=pooling)
    assert attn("convert", tmp_path / "st", "-o", tmp_path / "ours").said == ""
    wanted = theirs(model, tmp_path / "st", pool, normalize=normalize)
    np.testing.assert_allclose(embed(tmp_path / "ours"), wanted, atol=2e-5)
    other = "mean" if pool == "cls" else "cls"
    wanted = theirs(model, tmp_path / "st", other, normalize=False)
    found = embed(tmp_path / "ours", "--pool", other, "--no-normalize")
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    inside("convert", tmp_path / "ours", "--to", "huggingface", "-o", tmp_path / "back")
    inside("convert", tmp_path / "back", "-o", tmp_path / "again")
    files = [tmp_path / name / "config.json" for name in ("ours", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_prompts_and_the_longest_input_come_along(tmp_path):
    model = save_embedding(tmp_path / "st", below="0_Transformer", pooling={"pooling_mode": "mean"})
    prompts = {"prompts": {"query": "the dog : ", "passage": ""}, "default_prompt_name": "query"}
    write(tmp_path / "st" / "config_sentence_transformers.json", prompts)
    below = tmp_path / "st" / "0_Transformer"
    write(below / "sentence_bert_config.json", {"max_seq_length": 16, "do_lower_case": True})
    write(below / "tokenizer_config.json", {"do_lower_case": False})
    inside("convert", tmp_path / "st", "-o", tmp_path / "ours")
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config["options"]["embedding"]["max_len"] == 16
    (below / "tokenizer_config.json").unlink()  # the oracle lower-cases by its own means
    for options, before in [
        ((), "the dog : "),
        (("--prompt", "query"), "the dog : "),
        (("--prompt", "passage"), ""),
        (("--prompt", "none"), ""),
    ]:
        wanted = theirs(model, below, "mean", normalize=True, before=before)
        np.testing.assert_allclose(embed(tmp_path / "ours", *options), wanted, atol=2e-5)
    run = inside("embed", "-m", tmp_path / "ours", "--prompt", "qery", stdin=b"a\n", status=2)
    assert (
        "--prompt qery: no prompt of this model (did you mean query?); it has query, passage"
        in run.said
    )
    run = inside("embed", "-m", tmp_path / "ours", "--prompt", "query", "--words", status=2)
    assert "prompt" in run.said


@pytest.mark.parametrize(
    ("name", "values", "cause"),
    [
        (
            "modules.json",
            [{"type": TYPES + kind, "path": ""} for kind in ("Transformer", "Pooling", "Dense")],
            "modules.json: parts Transformer, Pooling, Dense are not supported",
        ),
        ("modules.json", [{"type": TYPES + "Transformer", "path": "../x"}], "path '../x'"),
        ("modules.json", {}, "a list of parts"),
        ("1_Pooling/config.json", {"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "pooling ['cls_token', 'mean_tokens'] is not supported",
        ),
        ("1_Pooling/config.json", {"pooling_mode": "lasttoken"}, "pooling ['lasttoken']"),
        ("config_sentence_transformers.json", {"prompts": ["a"]}, "names and texts"),
        ("config_sentence_transformers.json", {"default_prompt_name": "a"}, "default_prompt_name"),
        ("sentence_bert_config.json", {"max_seq_length": "x"}, "max_len"),
    ],
)
def test_what_embed_does_not_do_is_refused_by_name(tmp_path, name, values, cause):
    save_embedding(tmp_path / "st")
    write(tmp_path / "st" / name, values)
    said = inside("convert", tmp_path / "st", "-o", tmp_path / "ours", status=3).said
    assert cause in said
    assert not (tmp_path / "ours").exists()


def test_prompts_that_are_not_pooled_are_refused(tmp_path):
    save_embedding(tmp_path / "st", pooling={"pooling_mode": "mean", "include_prompt": False})
    inside("convert", tmp_path / "st", "-o", tmp_path / "ours")
    prompts = {"prompts": {"query": "the "}}
    write(tmp_path / "st" / "config_sentence_transformers.json", prompts)
    said = inside("convert", tmp_path / "st", "-o", tmp_path / "two", status=3).said
    assert "include_prompt false" in said
