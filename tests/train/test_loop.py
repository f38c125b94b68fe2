"""The training loop with a tiny model and made-up batches: no files but the states it saves."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from attn_cli.config.training import TrainingOptions
from attn_cli.data.batching import Placed, Position
from attn_cli.data.padding import pad
from attn_cli.errors import AttnError
from attn_cli.models import build_model
from attn_cli.models.seq2seq import TransformerConfig
from attn_cli.models.storage import load_tensors
from attn_cli.nn.dropout import Dropout
from attn_cli.systems.translation.likelihood import TranslationObjective
from attn_cli.systems.translation.pairs import Seq2SeqBatch
from attn_cli.train.checkpoints import Checkpoints
from attn_cli.train.loop import Trainer, Training
from attn_cli.train.monitor import Monitor
from attn_cli.train.objective import Objective
from attn_cli.train.passes import parts_of
from attn_cli.train.processes import Processes

PAD, BOS, EOS, VOCAB = 0, 1, 2, 12


class Said(list):
    """What a training says."""

    def say(self, text):
        self.append(text)

    warn = say

    def progress(self):
        return contextlib.nullcontext()


class Recorder:
    """An optimizer that only notes the gradients it is given."""

    def __init__(self, model):
        self.model = model
        self.param_groups = [{"lr": 0.1, "params": list(model.parameters())}]
        self.gradients = []

    def step(self):
        self.gradients.append([weight.grad.clone() for weight in self.model.parameters()])

    def state_dict(self):
        return {"state": {}, "param_groups": []}


class Changed(Objective):
    """An objective whose loss `change(call, batch, loss)` gives, or that fails as it says."""

    def __init__(self, objective, change, rows_per_sentence, partner):
        super().__init__(objective.model, partner)
        self.objective = objective
        self.change = change
        self.rows = rows_per_sentence
        self.calls = 0

    @property
    def rows_per_sentence(self):
        return self.rows

    def forward(self, batch):
        self.calls += 1
        loss, nll = self.objective(batch)
        return self.change(self.calls, batch, loss), nll


def as_figures(given):
    """A loss, or all figures of a validation."""
    return given if isinstance(given, dict) else {"loss": given}


@dataclass
class Setting:
    """A training on given batches, and what comes out of it."""

    folder: object
    batches: list
    change: object = lambda call, batch, loss: loss
    rows_per_sentence: int = 1
    partner: object = None
    dropout: float = 0.0
    extras: dict = field(default_factory=dict)
    figures: object = field(default_factory=lambda: itertools.repeat(1.0))
    saved: list = field(default_factory=list)
    said: Said = field(default_factory=Said)

    def trainer(self, **options):
        self.folder.mkdir(exist_ok=True)
        torch.manual_seed(21)
        sizes = {"d_model": 8, "d_ff": 12, "n_heads": 2, "n_encoder_layers": 1}
        vocabulary = {"src_vocab": VOCAB, "tgt_vocab": VOCAB, "share_embeddings": True}
        config = TransformerConfig(**sizes, n_decoder_layers=1, dropout=self.dropout, **vocabulary)
        model = build_model("transformer", config)
        objective = TranslationObjective(model, 0.1)
        figures = iter(self.figures)
        training = Training(
            objective=Changed(objective, self.change, self.rows_per_sentence, self.partner),
            stream=self._stream,
            validate=lambda spread: as_figures(next(figures)),
            **self.extras,
        )
        chosen = TrainingOptions(
            **{"metric": "loss", "warmup": 0, "precision": "float32", **options}
        )
        monitor = Monitor(self.said, self.folder / "train.jsonl", None, active=True)
        processes = Processes(0, 1, torch.device("cpu"))
        return Trainer(
            training,
            chosen,
            processes,
            Checkpoints(self.folder),
            monitor,
            save=lambda weights, meta: self.saved.append(
                ({name: weight.detach().clone() for name, weight in weights.items()}, meta)
            ),
        )

    def _stream(self, position, peers):
        for number in itertools.count(position.row):
            batch = self.batches[number % len(self.batches)]
            yield Placed(batch, Position(0, number + 1), (number + 1) / len(self.batches))

    def gradients(self, **options):
        """The gradients of the first update."""
        trainer = self.trainer(max_steps=1, clip_norm=0.0, **options)
        recorder = Recorder(trainer.objective.model)
        trainer.optimizers = [recorder]
        trainer.fit()
        return recorder.gradients[0]


def batch_of(sizes, seed=0):
    """Random pairs of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(3, VOCAB, (n,), generator=generator).tolist() for n in sizes]
    src_ids, src_mask = pad([[*row, EOS] for row in rows], PAD)
    tgt_ids, tgt_mask = pad([[BOS, *row, EOS] for row in rows], PAD)
    return Seq2SeqBatch(src_ids, src_mask, tgt_ids, tgt_mask[:, 1:])


SIZES = [1, 1, 2, 9, 3, 5, 7, 4]


def assert_alike(gradients, expected):
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_accumulated_small_batches_have_the_gradient_of_one_big_batch(tmp_path):
    """Whatever their sizes: not a mean of means."""
    whole = batch_of(SIZES)
    parts = [whole.rows(part) for part in (slice(0, 1), slice(1, 5), slice(5, 6), slice(6, 8))]
    expected = Setting(tmp_path / "whole", [whole]).gradients()
    assert any(gradient.any() for gradient in expected)
    found = Setting(tmp_path / "parts", parts).gradients(accumulate=4)
    assert_alike(found, expected)


def no_memory_above(limit):
    def fault(call, batch, loss):
        if len(batch) > limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return loss

    return fault


def test_a_batch_that_does_not_fit_is_halved_until_it_does(tmp_path):
    batch = batch_of(SIZES)
    expected = Setting(tmp_path / "whole", [batch]).gradients()
    halved = Setting(tmp_path / "halved", [batch], no_memory_above(2))
    assert_alike(halved.gradients(), expected)
    assert len([text for text in halved.said if "halved" in text]) == 1


def test_a_batch_is_cut_into_parts_where_an_objective_needs_the_memory_of_so_many(tmp_path):
    batch, sizes = batch_of(SIZES), []

    def noted(call, part, loss):
        sizes.append(len(part))
        return loss

    def gradients(folder, batch):
        setting = Setting(tmp_path / folder, [batch], noted, rows_per_sentence=3)
        return setting.gradients(batch_tokens=1 << 14)

    expected = Setting(tmp_path / "whole", [batch]).gradients()
    found = gradients("parts", batch)
    assert sizes == [3, 3, 2]
    assert_alike(found, expected)
    sizes.clear()
    gradients("few", batch.rows(slice(0, 2)))
    assert sizes == [1, 1]


@pytest.mark.parametrize(
    ("rows", "batch_tokens", "parts"),
    [(1, 100, 1), (1, 1 << 20, 1), (6, 2048, 1), (6, 8192, 3), (6, 32768, 6), (17, 2048, 3)],
)
def test_a_batch_has_as_many_parts_as_its_outputs_need(rows, batch_tokens, parts):
    assert parts_of(rows, batch_tokens) == parts


def test_a_single_pair_that_does_not_fit_ends_the_run_with_a_remedy(tmp_path):
    setting = Setting(tmp_path, [batch_of(SIZES)], no_memory_above(0))
    with pytest.raises(AttnError, match=r"out of memory on cpu with 1 sent.*lower --batch-tokens"):
        setting.trainer(max_steps=1).fit()


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path):
    def fault(call, batch, loss):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Setting(tmp_path, [batch_of(SIZES)], fault).trainer(max_steps=1).fit()


def test_an_update_that_is_not_finite_is_skipped_and_counted(tmp_path):
    batches = [batch_of(SIZES, seed) for seed in range(4)]
    setting = Setting(
        tmp_path, batches, lambda call, batch, loss: loss * math.nan if call in (2, 3) else loss
    )
    progress = setting.trainer(max_steps=4, validate_every=4).fit()
    assert (progress.step, progress.skipped, progress.skipped_in_a_row) == (4, 2, 0)
    weights, _ = setting.saved[-1]
    assert all(weight.isfinite().all() for weight in weights.values())
    assert [text.split(":")[0] for text in setting.said if "not finite" in text] == [
        "step 2",
        "step 3",
    ]


def test_a_run_that_stays_not_finite_stops_with_the_cause(tmp_path):
    setting = Setting(tmp_path, [batch_of(SIZES)], lambda call, batch, loss: loss * math.inf)
    with pytest.raises(AttnError, match=r"6 updates in a row were not finite.*Lower --lr"):
        setting.trainer(max_steps=50).fit()


def test_patience_ends_a_run_and_the_best_weights_stay(tmp_path):
    setting = Setting(tmp_path, [batch_of(SIZES)], figures=[3.0, 2.0, 2.5, 2.0, 2.1, 9.0])
    progress = setting.trainer(max_steps=60, validate_every=2, patience=3).fit()
    assert progress.finished == "no better validation in 3"
    assert progress.step == 10
    assert [meta["step"] for _, meta in setting.saved] == [2, 4]


def test_of_equal_figures_the_one_with_the_smaller_loss_is_better(tmp_path):
    """Outputs of one word have no 4-gram: BLEU is 0 to the end."""
    figures = [{"loss": loss, "bleu": bleu} for loss, bleu in ((4, 0), (3, 0), (3, 0), (9, 1))]
    setting = Setting(tmp_path, [batch_of(SIZES)], figures=[*figures, {"loss": 1, "bleu": 0.5}])
    setting.trainer(max_steps=5, validate_every=1, metric="bleu").fit()
    assert [meta["step"] for _, meta in setting.saved] == [1, 2, 4]


def test_while_bleu_says_nothing_the_loss_decides_which_weights_are_kept(tmp_path):
    """Step 4 of BLEU 0.023 and loss 7.85 was kept over step 14 of BLEU 0.022 and loss 6.03."""
    figures = [(7.85, 0.023), (6.03, 0.022), (6.5, 0.9), (5.0, 1.2), (4.0, 1.1)]
    extras = {"says_nothing_below": {"bleu": 1.0}, "too_young": "too young to translate"}
    setting = Setting(
        tmp_path,
        [batch_of(SIZES)],
        extras=extras,
        figures=[{"loss": loss, "bleu": bleu} for loss, bleu in figures],
    )
    progress = setting.trainer(max_steps=5, validate_every=1, metric="bleu").fit()
    assert [meta["step"] for _, meta in setting.saved] == [1, 2, 4]
    young, grown = (setting.saved[number][1] for number in (1, 2))
    assert young == {"step": 2, "metric": "loss", "figure": 6.03, "note": "too young to translate"}
    assert grown == {"step": 4, "metric": "bleu", "figure": 1.2}
    assert progress.best[0].said("bleu") == "bleu 1.200"


@pytest.mark.parametrize(("passes", "validations"), [(0.0, 10), (0.5, 4), (1.0, 2), (9.0, 1)])
def test_validations_take_no_more_than_a_tenth_of_a_run(tmp_path, passes, validations):
    """Of 20 passes; the last one is always made."""
    setting = Setting(tmp_path, [batch_of(SIZES)], extras={"validation_epochs": passes})
    progress = setting.trainer(max_steps=20).fit()
    assert progress.validations == validations
    every = Setting(tmp_path / "x", [batch_of(SIZES)], extras={"validation_epochs": passes})
    assert every.trainer(max_steps=20, validate_every=4).fit().validations == 5


def test_slow_validations_are_few_where_a_clock_ends_the_run(tmp_path):
    def slow():
        while True:
            time.sleep(0.2)
            yield 1.0

    batches = [batch_of(SIZES)]
    setting = Setting(tmp_path, batches, figures=slow(), extras={"validation_epochs": 1.0})
    progress = setting.trainer(max_time="2s").fit()
    assert progress.validations <= 2
    assert progress.validation_seconds == pytest.approx(0.2 * progress.validations, rel=0.3)


def test_the_average_of_the_best_weights_is_saved_at_the_end(tmp_path):
    setting = Setting(tmp_path, [batch_of(SIZES)], figures=[3.0, 1.0, 4.0, 2.0])
    trainer = setting.trainer(max_steps=4, validate_every=1, keep_best=2, average=2)
    trainer.fit()
    best = sorted(tmp_path.glob("best-*.safetensors"))
    assert [int(path.stem.split("-")[1]) for path in best] == [2, 4]
    second, fourth = (load_tensors(path)[0] for path in best)
    weights, meta = setting.saved[-1]
    assert sorted(meta["average_of_steps"]) == [2, 4]
    assert set(weights) == set(second)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, (second[name] + fourth[name]) / 2)


def test_validated_and_saved_weights_are_the_averaged_ones(tmp_path):
    setting = Setting(tmp_path, [batch_of(SIZES)])
    trainer = setting.trainer(max_steps=3, validate_every=3, ema=0.9)
    trainer.fit()
    weights, _ = setting.saved[-1]
    averages = trainer.average.tensors()
    current = dict(trainer.objective.model.named_parameters())
    for name in current:
        assert torch.equal(weights[name], averages[f"average.{name}"])
    assert any(not torch.equal(weights[name], weight) for name, weight in current.items())


def test_the_gradient_norm_is_clipped_over_all_weights_together(tmp_path):
    setting = Setting(tmp_path, [batch_of(SIZES)])
    trainer = setting.trainer(max_steps=1, clip_norm=0.01)
    recorder = Recorder(trainer.objective.model)
    trainer.optimizers = [recorder]
    trainer.fit()
    total = math.sqrt(sum(float(g.square().sum()) for g in recorder.gradients[0]))
    assert total == pytest.approx(0.01, rel=1e-3)


def with_partner(folder, factor):
    """A setting whose partner's gradient is `factor` for each of its weights."""
    partner = nn.Linear(3, 1)

    def change(call, batch, loss):
        total = sum(weight.sum() for weight in partner.parameters())
        return loss + factor * batch.n_tokens * total

    return Setting(folder, [batch_of(SIZES)], change, partner=partner)


def test_the_gradient_of_a_partner_is_clipped_by_itself(tmp_path):
    expected = Setting(tmp_path / "alone", [batch_of(SIZES)])
    trainers = []
    for setting in (expected, with_partner(tmp_path / "both", 100.0)):
        trainer = setting.trainer(max_steps=1, clip_norm=0.01)
        recorders = [Recorder(module) for module in trainer.objective.trained]
        trainer.optimizers = recorders
        trainer.fit()
        trainers.append(recorders)
    (alone,), (model, partner) = trainers
    assert_alike(model.gradients[0], alone.gradients[0])
    for gradient in partner.gradients[0]:  # four weights of one size
        torch.testing.assert_close(gradient, torch.full_like(gradient, 0.005), rtol=1e-3, atol=0)


def test_an_update_is_skipped_if_the_gradient_of_a_partner_is_not_finite(tmp_path):
    setting = with_partner(tmp_path, 1.0)
    weight = setting.partner.weight
    setting.change = lambda call, batch, loss: loss + (weight - weight.detach()).sum().sqrt()
    progress = setting.trainer(max_steps=2).fit()
    assert (progress.step, progress.skipped) == (2, 2)
    assert any("gradient norm inf" in text for text in setting.said)


def test_weights_of_a_partner_that_are_spoilt_are_not_saved(tmp_path):
    setting = with_partner(tmp_path, 1.0)
    trainer = setting.trainer(max_steps=1)
    with torch.no_grad():
        setting.partner.bias.fill_(math.inf)
    trainer.objective.change = lambda call, batch, loss: loss
    with pytest.raises(AttnError, match=r"step 1: bias is no finite number.*saved is intact"):
        trainer.fit()
    assert not list(tmp_path.glob("state-*"))


@pytest.mark.parametrize("damaged", ["newest", "all"])
def test_a_damaged_state_falls_back_to_the_one_before_it(tmp_path, damaged):
    def setting():
        return Setting(tmp_path, [batch_of(SIZES, seed) for seed in range(3)])

    setting().trainer(max_steps=4, validate_every=2).fit()
    states = sorted(tmp_path.glob("state-*"))
    assert len(states) == 2
    for path in states[-1:] if damaged == "newest" else states:
        path.write_bytes(path.read_bytes()[:-1])
    again = setting()
    trainer = again.trainer(max_steps=6, validate_every=2)
    if damaged == "all":
        with pytest.raises(AttnError, match="no saved state is usable; --overwrite"):
            trainer.fit()
        return
    assert trainer.fit().step == 6
    assert any("trying the state saved before it" in text for text in again.said)
    assert "continuing after step 2" in again.said


def test_dropout_grows_with_the_passes_and_goes_on_where_a_training_stopped(tmp_path):
    """Two updates a pass, two passes of warm-up: p grows by a quarter with each update."""
    found = []

    def run(last):
        def noted(call, batch, loss):
            found.append(layers[0].p)
            if len(found) == last:
                raise KeyboardInterrupt
            return loss

        batches = [batch_of(SIZES), batch_of(SIZES, 1)]
        trainer = Setting(tmp_path, batches, change=noted, dropout=0.4).trainer(
            max_steps=6, validate_every=2, dropout_warmup=2
        )
        layers = [part for part in trainer.objective.modules() if isinstance(part, Dropout)]
        trainer.fit()

    with pytest.raises(KeyboardInterrupt):
        run(4)
    assert found.pop() == pytest.approx(0.3) and found.pop() == 0.2
    run(0)
    assert found == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.4])
