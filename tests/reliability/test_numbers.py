"""Numbers that go wrong: loss and weights that are not finite, and memory that runs out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from program import TINY, run_inside, write_reversal

from attn_cli.cli import train_mt  # noqa: F401 - what is patched below is imported with it
from attn_cli.config.decoding import SearchOptions
from attn_cli.data.batching import cut_by_budget
from attn_cli.errors import AttnError
from attn_cli.search import search
from attn_cli.systems.translation.likelihood import TranslationObjective
from attn_cli.systems.translation.translator import AutoregressiveTranslator, Source
from attn_cli.train import loop, passes

OUT_OF_MEMORY = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"


def train(place: Path, *more: object) -> Any:
    corpus = write_reversal(place / "t.tsv", 150, seed=2)
    options = (*TINY, "--vocab-size", 30, "--batch-tokens", 100, "--metric", "loss", "--dropout", 0)
    limits = ("--max-steps", 8, "--validate-every", 4, "--precision", "float32")
    return run_inside("train-mt", corpus, "-o", place / "m", *options, *limits, *more)


@pytest.fixture
def starved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of more than eight sentences do not fit: backward fails when half of it is done."""
    forward = TranslationObjective.forward

    def scarce(self: Any, batch: Any) -> Any:
        loss, nll = forward(self, batch)
        if len(batch) > 8 and torch.is_grad_enabled():
            weight = self.model.output_bias
            weight.grad = torch.ones_like(weight) * 1e6  # what a pass that fails leaves behind
            raise RuntimeError(OUT_OF_MEMORY)
        return loss, nll

    monkeypatch.setattr(TranslationObjective, "forward", scarce)


def weights_of(place: Path) -> dict[str, torch.Tensor]:
    from attn_cli.models.storage import load_tensors

    return load_tensors(place / "m" / "model.safetensors")[0]


def test_out_of_memory_in_training_is_split_said_once_and_changes_nothing(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "plenty").mkdir()
    (tmp_path / "little").mkdir()
    assert train(tmp_path / "plenty").status == 0
    request.getfixturevalue("starved")
    done = train(tmp_path / "little")
    assert done.status == 0, done.said
    assert done.said.count("did not fit into memory; such batches are halved") == 1
    plenty, little = weights_of(tmp_path / "plenty"), weights_of(tmp_path / "little")
    for name, weight in plenty.items():
        torch.testing.assert_close(little[name], weight, atol=1e-4, rtol=1e-3)


def test_a_sentence_that_never_fits_ends_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Any, batch: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(TranslationObjective, "forward", never)
    done = train(tmp_path)
    assert done.status == 1
    assert "out of memory on cpu with 1 sentence at a time; lower --batch-tokens" in done.said


def spoil(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """The loss of these updates is not a number."""
    backward, count = passes.Passes._backward, [0]

    def spoilt(self: Any, *arguments: Any, **named: Any) -> list[float]:
        sums = backward(self, *arguments, **named)
        count[0] += 1
        return [math.nan, math.nan] if count[0] in steps else sums

    monkeypatch.setattr(passes.Passes, "_backward", spoilt)


def test_repeated_losses_that_are_not_finite_stop_and_leave_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, set(range(6, 99)))
    done = train(tmp_path, "--max-steps", 40)
    assert done.status == 1
    assert done.said.count("not finite, update skipped") == 6
    assert "6 updates in a row were not finite; the last saved state is intact" in done.said
    assert all(bool(weight.isfinite().all()) for weight in weights_of(tmp_path).values())
    assert run_inside("decode", "-m", tmp_path / "m", stdin=b"banu\n").status == 0


def test_spoilt_weights_never_replace_those_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is finite, the update is not: seen at the next save, not after a night."""
    after_update, count = loop.Trainer._after_update, [0]

    def spoilt(self: Any, signals: Any) -> None:
        count[0] += 1
        if count[0] == 7:
            next(iter(self.objective.model.parameters())).data.view(-1)[0] = math.inf
        after_update(self, signals)

    monkeypatch.setattr(loop.Trainer, "_after_update", spoilt)
    done = train(tmp_path)
    assert done.status == 1
    assert "no finite number any more; what was saved is intact" in done.said
    assert all(bool(weight.isfinite().all()) for weight in weights_of(tmp_path).values())


@pytest.fixture
def translator(reversal_model: Path) -> AutoregressiveTranslator:
    return AutoregressiveTranslator.load(str(reversal_model), torch.device("cpu"))


SOURCES = [Source(text) for text in ("banu kera", "livo", "mora banu livo", "kenu") * 4]


def translate(translator: AutoregressiveTranslator) -> list[str]:
    found = translator.generate(SOURCES, SearchOptions(beam=2), batch_tokens=64)
    return [several[0].text for several in found]


def scarce_rows(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    admit = search.Beams.admit

    def scarce(model: Any, entering: Any, *rest: Any) -> Any:
        if 2 * len(entering) > most:
            raise RuntimeError(OUT_OF_MEMORY)
        return admit(model, entering, *rest)

    monkeypatch.setattr(search.Beams, "admit", scarce)


def test_out_of_memory_in_decoding_is_split_and_said_once(
    translator: AutoregressiveTranslator, monkeypatch: pytest.MonkeyPatch
) -> None:
    plenty = translate(translator)
    scarce_rows(monkeypatch, 4)
    said: list[str] = []
    translator.say = said.append
    assert translate(translator) == plenty
    assert translate(translator) == plenty
    assert said == ["a batch did not fit into memory; such batches are halved"]


def test_one_sentence_that_never_fits_ends_with_the_remedy(
    translator: AutoregressiveTranslator, monkeypatch: pytest.MonkeyPatch
) -> None:
    scarce_rows(monkeypatch, 0)
    with pytest.raises(AttnError, match="one sentence of .* tokens; lower --beam"):
        translate(translator)


@pytest.mark.parametrize("longest", [1, 7, 50, 256])
def test_a_batch_holds_to_its_budget_whatever_the_lengths(longest: int) -> None:
    generator = torch.Generator().manual_seed(longest)
    lengths = torch.randint(1, longest + 1, (500, 2), generator=generator).tolist()
    groups = cut_by_budget(lengths, 256, seed=1)
    assert sorted(i for group in groups for i in group) == list(range(500))
    for group in groups:
        assert max(max(lengths[i]) for i in group) * len(group) <= 256
