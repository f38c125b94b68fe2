"""Language models: continuing lines, and the probability of a text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from program import attn, inside
from torch import Tensor
from torch.nn import functional as F

from attn_cli.config.decoding import SearchOptions
from attn_cli.search.ensemble import Ensemble
from attn_cli.search.search import search
from attn_cli.search.step import Begun, StepModel, StepOutput
from attn_cli.systems.generation.generator import Source
from attn_cli.systems.generation.scorer import score_pairs
from attn_cli.systems.pretraining.continuer import Continuer, LanguageModelStep

CYCLE = ["a b c d e f g h", "c d e f g h a b", "e f g h a b c d"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model that the program itself taught that letters come in a cycle."""
    place = tmp_path_factory.mktemp("language")
    (place / "text.txt").write_text("".join(f"{line}\n" for line in CYCLE * 60))
    sizes = ("--d-model", 32, "--n-layers", 2, "--n-heads", 2, "--max-positions", 48)
    recipe = ("--max-len", 32, "--batch-tokens", 512, "--max-steps", 300, "--warmup", 10)
    limits = ("--validate-every", 300, "--ema", 0.9, "--threads", 1, "--precision", "float32")
    source = (place / "text.txt", "--objective", "clm", "--type", "char", "-o", place / "lm")
    inside("pretrain", *source, *sizes, *recipe, *limits)
    return place / "lm"


@pytest.fixture(scope="module")
def continuer(model: Path) -> Continuer:
    return Continuer.load(str(model), torch.device("cpu"))


def log_prob(continuer: Continuer, ids: list[int]) -> float:
    """Log P of tokens and eos by one whole forward pass."""
    tokenizer, backbone = continuer.tgt, continuer.models[0].backbone
    row = torch.tensor([[tokenizer.bos_id, *ids, tokenizer.eos_id]])
    with torch.inference_mode():
        hidden = backbone(row[:, :-1], torch.ones(1, row.shape[1] - 1, dtype=torch.bool))
        logits = F.linear(hidden, *backbone.output_layer)
    return float(-F.cross_entropy(logits[0], row[0, 1:], reduction="sum"))


def test_lines_are_continued_and_keep_their_place(model: Path) -> None:
    prompts = b"a b c\n\nc d e f\tkept\ne\n"
    found = attn("decode", "-m", model, "--greedy", stdin=prompts)
    assert found.lines[0] == CYCLE[0]
    assert found.lines[1] == ""
    assert found.lines[2] == f"{CYCLE[1]}\tkept"
    assert found.lines[3].startswith("e f g h a")
    assert len(found.lines) == 4


@pytest.mark.parametrize("beam", [1, 3])
def test_reported_scores_are_those_of_the_texts(
    model: Path, continuer: Continuer, beam: int
) -> None:
    options = ("--beam", beam, "--scores")
    for line in inside("decode", "-m", model, *options, stdin=b"a b\nc d e\n").lines:
        text, score = line.split("\t")
        assert float(score) == pytest.approx(
            log_prob(continuer, continuer.tgt.encode([text])[0]), abs=1e-3
        )
        (told,) = inside("score", "--log-prob", "-m", model, stdin=f"{text}\n".encode()).lines
        assert float(told) == pytest.approx(float(score), abs=1e-3)


class Stepping(StepModel):
    """A model that can't read what its outputs begin with at once, and counts its steps."""

    def __init__(self, step: LanguageModelStep) -> None:
        self._step, self.steps = step, 0
        self.bos_id, self.eos_id, self.pad_id = step.bos_id, step.eos_id, step.pad_id

    def start(self, sources: list[Any]) -> object:
        return self._step.start(sources)

    def step(self, state: object, tokens: Tensor, *, need_attention: bool = False) -> StepOutput:
        self.steps += 1
        return self._step.step(state, tokens)


class Reading(Stepping):
    """The same, of one that can."""

    def begin(self, sources: list[Any], prefixes: list[tuple[int, ...]]) -> Begun:
        return self._step.begin(sources, prefixes)


@pytest.mark.parametrize(
    "options",
    [
        SearchOptions(beam=3, n_best=3, max_len=6, length_penalty=1.0),
        SearchOptions(greedy=True, max_len=6, no_repeat_ngram=3),
        SearchOptions(sample=True, n_best=2, max_len=6),
        SearchOptions(beam=4, n_best=2, max_len=6, diversity=0.5, diversity_groups=2),
    ],
)
@pytest.mark.parametrize("members", [1, 2])
@torch.inference_mode()
def test_a_prompt_read_at_once_is_continued_as_one_read_step_by_step(
    continuer: Continuer, options: SearchOptions, members: int
) -> None:
    texts = ["", "a", "a b c d e f g h a b", "c d e", "b d a", "h", "f g h a"]
    sources = [Source(text) for text in texts]
    requests = continuer.requests(sources, options)
    phrases = () if options.sample or options.diversity else (continuer.tgt.encode(["c"])[0],)
    requests = [dataclasses.replace(one, constraints=phrases) for one in requests]
    found, steps = [], []
    for kind in (Stepping, Reading):
        each = [kind(LanguageModelStep(continuer.models[0], continuer.tgt)) for _ in range(members)]
        model = each[0] if members == 1 else Ensemble(each)
        found.append(search(model, requests, options, max_rows=12))
        steps.append(each[0].steps)
    assert steps[1] < steps[0]
    for slow, fast in zip(*found, strict=True):
        assert [one.tokens for one in slow] == [one.tokens for one in fast]
        for one, other in zip(slow, fast, strict=True):
            assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)


def test_greedy_is_the_likeliest_token_again_and_again(continuer: Continuer) -> None:
    (found,) = continuer.generate(
        [Source("b c")], SearchOptions(greedy=True, max_len=9), batch_tokens=64
    )
    tokenizer, backbone = continuer.tgt, continuer.models[0].backbone
    ids = [tokenizer.bos_id, *tokenizer.encode(["b c"])[0]]
    prompt = len(ids)
    with torch.inference_mode():
        while ids[-1] != tokenizer.eos_id and len(ids) < prompt + 9:
            row = torch.tensor([ids])
            hidden = backbone(row, torch.ones_like(row, dtype=torch.bool))[0, -1]
            logits = F.linear(hidden, *backbone.output_layer)
            logits[list(continuer.never_ids)] = -torch.inf
            ids.append(int(logits.argmax()))
    assert list(found[0].tokens) == [i for i in ids[1:] if i != tokenizer.eos_id]


def test_sampling_follows_its_seed(model: Path) -> None:
    # Hot, since the model is nearly certain of how the alphabet goes on.
    options = ("--sample", "--temperature", 3)
    runs = [
        inside("decode", "-m", model, *options, "--seed", seed, stdin=b"a\nb\nc\nd\n").out
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_texts_longer_than_the_model_sees(model: Path, continuer: Continuer) -> None:
    text = " ".join("abcdefgh" * 70)  # 1,119 characters; the model sees 48
    ids = continuer.tgt.encode([text])[0]
    (scored,) = score_pairs(continuer, [(Source(""), text)])
    assert scored.tokens == len(ids) + 1
    direct = 0.0  # each token is scored in the first of the half-overlapping windows that has it
    row = [continuer.tgt.bos_id, *ids, continuer.tgt.eos_id]
    backbone, done = continuer.models[0].backbone, 0
    firsts = [*range(0, len(row) - 1 - 48, 24), len(row) - 1 - 48]
    with torch.inference_mode():
        for first in firsts:
            part = torch.tensor([row[first : first + 49]])
            hidden = backbone(part[:, :-1], torch.ones(1, 48, dtype=torch.bool))
            losses = F.cross_entropy(
                F.linear(hidden, *backbone.output_layer)[0], part[0, 1:], reduction="none"
            )
            direct -= float(losses[done - first :].double().sum())
            done = first + 48
    assert scored.log_prob == pytest.approx(direct, rel=1e-4)
    (line,) = inside(
        "decode", "-m", model, "--greedy", "--max-len", 5, stdin=f"{text}\n".encode()
    ).lines
    assert line.startswith(text)
    assert len(line) <= len(text) + 5


def test_options_that_need_a_source_are_refused(model: Path) -> None:
    for option in ("--align", "--prefix"):
        run = attn("decode", "-m", model, option, stdin=b"a\tb\n", status=2)
        assert "continues its input" in run.said


def test_perplexity_of_likely_text_is_low(model: Path) -> None:
    good, bad = (
        float(inside("score", "--ppl", "-m", model, stdin=text).lines[0].split("\t")[1])
        for text in (b"a b c d e f g h\n", b"h a g b f c e d\n")
    )
    assert 1 < good < 2 < 3 < bad  # half of the characters are spaces


@pytest.fixture(scope="module", params=["lossless", "plain"])
def word_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes "the cat sat the cat sat" for ever; its pieces are words with the space before."""
    folder = tmp_path_factory.mktemp("words")
    (folder / "text").write_text("the cat sat the cat sat the cat sat\n" * 60)
    lossless = ("--lossless",) if request.param == "lossless" else ()
    tokenizer = folder / "t.model"
    inside(
        *("tokenize", "train", folder / "text", "--type", "bpe", *lossless, "-o", tokenizer),
    )
    inside(
        *("pretrain", folder / "text", "--objective", "clm", "--tokenizer", tokenizer),
        *("--d-model", 32, "--n-layers", 1, "--n-heads", 2, "--max-steps", 60, "--warmup", 5),
        *("--threads", 1, "-o", folder / "m"),
    )
    return folder / "m"


def test_the_space_at_the_end_of_a_prompt_stands_once(word_model: Path) -> None:
    prompts = ["the cat ", "the cat", "the ", "the cat sat  "]
    given = "".join(f"{prompt}\n" for prompt in prompts).encode()
    for options in (("--greedy",), ("--beam", "3"), ("--sample", "--seed", "3")):
        found = attn("decode", "-m", word_model, *options, "--max-len", 3, stdin=given).lines
        for prompt, line in zip(prompts, found, strict=True):
            assert line.startswith(prompt)
            added = line[len(prompt) :]
            assert len(added) > 1
            assert added.startswith(" ") != prompt.endswith(" ")
    greedy = attn("decode", "-m", word_model, "--greedy", "--max-len", 2, stdin=given).lines
    assert greedy[0] == greedy[1].replace("the cat  ", "the cat ")
