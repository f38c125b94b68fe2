"""`decode --lm`: a language model of the same tokens has a say in the search."""

from __future__ import annotations

import json

import pytest
from program import inside, write_reversal

from attn_cli.models.directory import read_config

LM = ("--objective", "clm", "--d-model", 16, "--d-ff", 32, "--n-heads", 2, "--n-layers", 1)
RUN = ("--max-steps", 60, "--warmup", 10, "--batch-tokens", 400, "--threads", 1, "--device", "cpu")


@pytest.fixture(scope="module")
def language_model(reversal_model, tmp_path_factory):
    """One that has read outputs of the translator's kind."""
    place = tmp_path_factory.mktemp("lm")
    pairs = write_reversal(place / "pairs.tsv", 400, seed=9).read_text().splitlines()
    text = place / "text.txt"
    text.write_text("\n\n".join(pair.split("\t")[1] for pair in pairs) + "\n")
    tokens = ("--tokenizer", reversal_model, "--max-len", 32)
    inside("pretrain", text, "-o", place / "m", *LM, *tokens, *RUN)
    return place / "m"


@pytest.fixture
def sources(tmp_path):
    lines = write_reversal(tmp_path / "pairs.tsv", 12, seed=21).read_text().splitlines()
    path = tmp_path / "sources.txt"
    path.write_text("".join(line.split("\t")[0] + "\n" for line in lines))
    return path


def hypotheses(*arguments):
    return [
        json.loads(line)["hypotheses"]
        for line in inside("decode", "--format", "json", *arguments).lines
    ]


def test_the_score_is_that_of_both(reversal_model, language_model, sources):
    """Each by `attn score --log-prob`, of all outputs that a beam gives."""
    how = ("--beam", 4, "--n-best", 4, "--length-penalty", 0.5)
    fused = hypotheses(
        "-m", reversal_model, "--lm", language_model, "--lm-weight", 0.7, *how, sources
    )
    texts = [[one["text"] for one in several] for several in fused]
    pairs = "".join(
        f"{source}\t{text}\n"
        for source, several in zip(sources.read_text().splitlines(), texts, strict=True)
        for text in several
    )
    own = inside("score", "--log-prob", "-m", reversal_model, stdin=pairs.encode()).lines
    said = "".join(f"{text}\n" for several in texts for text in several).encode()
    other = inside("score", "--log-prob", "-m", language_model, stdin=said).lines
    tokens = inside("tokenize", "encode", "-t", reversal_model, "--as", "ids", stdin=said).lines
    found = [one for several in fused for one in several]
    compared = 0
    for one, mine, theirs, ids in zip(found, own, other, tokens, strict=True):
        assert one["log_prob"] == pytest.approx(float(mine), abs=1e-3)
        both = (float(mine) + 0.7 * float(theirs)) / (len(ids.split()) + 1) ** 0.5
        compared += one["score"] == pytest.approx(both, abs=1e-3)
    assert compared > 0.7 * len(found)  # others were found in another segmentation
    for several in fused:
        assert several == sorted(several, key=lambda one: -one["score"])


def test_it_changes_what_is_found_and_without_weight_nothing(
    reversal_model, language_model, sources
):
    alone = hypotheses("-m", reversal_model, "--n-best", 5, sources)
    none = ("--lm", language_model, "--lm-weight", 0, "--n-best", 5)
    for one, other in zip(alone, hypotheses("-m", reversal_model, *none, sources), strict=True):
        assert [x["text"] for x in one] == [x["text"] for x in other]
    strong = ("--lm", language_model, "--lm-weight", 10, "--n-best", 5)
    changed = hypotheses("-m", reversal_model, *strong, sources)
    assert [one[0]["text"] for one in changed] != [one[0]["text"] for one in alone]
    both = f"{language_model},{language_model}"
    ensemble = hypotheses("-m", reversal_model, "--lm", both, *strong[2:], sources)
    assert [one[0]["text"] for one in ensemble] == [one[0]["text"] for one in changed]
    greedy = ("--greedy", "--lm", language_model)
    assert len(inside("decode", "-m", reversal_model, *greedy, sources).lines) == 12


def test_outputs_are_no_longer_than_the_language_model_reads(
    reversal_model, language_model, sources
):
    limit = read_config(language_model).model.max_positions - 1
    how = ("--lm", language_model, "--greedy", "--max-len", 2 * limit, "--min-len")
    line = sources.read_bytes().split(b"\n")[0] + b"\n"
    full = inside("decode", "-m", reversal_model, *how, limit, stdin=line).lines
    (ids,) = inside("tokenize", "encode", "-t", reversal_model, "--as", "ids", stdin=line).lines
    assert len(full[0].split()) > len(ids.split())
    run = inside("decode", "-m", reversal_model, *how, limit + 1, stdin=line, status=3)
    assert f"--min-len is {limit + 1}, but there is room for {limit} tokens" in run.said


def test_what_can_t_help_is_refused(reversal_model, language_model, sources, tmp_path):
    def refused(*arguments, status=2):
        return inside("decode", "-m", reversal_model, *arguments, sources, status=status).said

    assert "--lm-weight needs --lm" in refused("--lm-weight", 0.5)
    assert "leave out --sample" in refused("--sample", "--lm", language_model)
    assert "attn pretrain --objective clm makes" in refused("--lm", reversal_model)
    assert "no such" in refused("--lm", tmp_path / "nowhere", status=2)
    text = tmp_path / "text.txt"
    text.write_text("other words here\n\nand there\n\n" * 30)
    inside("pretrain", text, "-o", tmp_path / "m", *LM, "--vocab-size", 300, "--max-steps", 1)
    said = refused("--lm", tmp_path / "m")
    assert f"attn pretrain --objective clm --tokenizer {reversal_model} makes" in said
    said = inside("decode", "-m", language_model, "--lm", language_model, sources, status=2).said
    assert "--lm: a language model continues its input" in said
    engine = ("--engine", "ctranslate2", "--lm", language_model)
    assert "--lm: attn's own search does it alone" in refused(*engine)
