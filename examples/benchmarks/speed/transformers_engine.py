"""Hugging Face transformers in the plain loop: Marian for translation, BERT for masked tokens."""

from __future__ import annotations

import torch
from batches import CLS, PAD, Masked, masked_batches
from torch import Tensor
from torch_engine import train, train_translator
from transformers import BertConfig, BertForPreTraining, MarianConfig, MarianMTModel
from work import DROPOUT, Engine, Measured, Try, Work


class Transformers(Engine):
    """No dropout of attention weights, as in the other engines: it would be slower."""

    def measure(self, task: Try) -> Measured:
        if task.work.kind == "masked":
            model = bert(task.work)
            tokens = task.work.batch_tokens
            loss_of = lambda batch: (bert_loss(model, batch), tokens)  # noqa: E731
            return train(task, model, masked_batches(task), loss_of)
        model = marian(task.work)

        def logits(src: Tensor, read: Tensor) -> Tensor:
            mask = (src != PAD).long()
            return model(src, mask, decoder_input_ids=read, use_cache=False).logits

        return train_translator(task, model, logits)


def marian(work: Work) -> MarianMTModel:
    sizes = {"layers": work.n_layers, "attention_heads": work.n_heads, "ffn_dim": work.d_ff}
    sides = ("encoder", "decoder")
    config = MarianConfig(
        vocab_size=work.vocab,
        d_model=work.d_model,
        dropout=DROPOUT,
        attention_dropout=0.0,
        activation_function="relu",
        scale_embedding=True,
        max_position_embeddings=512,
        pad_token_id=PAD,
        decoder_start_token_id=CLS,
        **{f"{side}_{name}": size for side in sides for name, size in sizes.items()},
    )
    return MarianMTModel(config)


def bert(work: Work, dropout: float = DROPOUT) -> BertForPreTraining:
    config = BertConfig(
        vocab_size=work.vocab,
        hidden_size=work.d_model,
        num_hidden_layers=work.n_layers,
        num_attention_heads=work.n_heads,
        intermediate_size=work.d_ff,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=0.0,
    )
    return BertForPreTraining(config)


def bert_loss(model: BertForPreTraining, batch: Masked) -> Tensor:
    """Of hidden tokens and of pairs. All positions get scores, as its users have it."""
    return model(
        batch.ids,
        torch.ones_like(batch.ids),
        token_type_ids=batch.segments,
        labels=batch.gold.masked_fill(~batch.hidden, -100),
        next_sentence_label=batch.labels,
    ).loss
