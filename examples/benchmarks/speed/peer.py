"""The peers as programs in a pipe: `python peer.py WHAT JSON` answers lines, as attn does.

The first `warm` lines are answered at once; then every line alone, or all others together.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

Answer = Callable[[list[str]], Sequence[str]]


def main() -> None:
    what, told = sys.argv[1], json.loads(sys.argv[2])
    answer: Answer = PEERS[what](told)
    lines = (line.rstrip("\n") for line in sys.stdin)
    for group in _groups(lines, told.get("warm", 0), alone=told.get("alone", False)):
        if group:
            print("\n".join(answer(group)), flush=True)


def _groups(lines: Iterator[str], warm: int, *, alone: bool) -> Iterator[list[str]]:
    yield list(islice(lines, warm))
    if alone:
        yield from ([line] for line in lines)
    else:
        yield list(lines)


def ctranslate2(told: dict) -> Answer:
    """A converted translator, with the tokenizers that stand beside it."""
    from pathlib import Path

    import ctranslate2

    from attn_cli.tokenizers.tokenizer_files import read_tokenizers

    src, tgt = read_tokenizers(Path(told["model"]))
    translator = ctranslate2.Translator(
        told["model"],
        device="cpu",
        inter_threads=told["inter"],
        intra_threads=told["intra"],
        compute_type=told["precision"],
    )
    length = told.get("length")
    lengths = {"min_decoding_length": length, "max_decoding_length": length} if length else {}

    def answer(lines: list[str]) -> list[str]:
        pieces = [src.pieces(ids) for ids in src.encode(lines)]
        found = translator.translate_batch(
            pieces, beam_size=told["beam"], max_batch_size=told["batch"], **lengths
        )
        return tgt.decode([tgt.piece_ids(each.hypotheses[0]) for each in found])

    return answer


def generate(told: dict) -> Answer:
    """A GPT-2 of transformers, greedily, so many tokens to each prompt, bos first."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(told["threads"])
    tokenizer = AutoTokenizer.from_pretrained(told["model"], padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(told["model"]).eval()
    length = {"min_new_tokens": told["length"], "max_new_tokens": told["length"]}

    def answer(lines: list[str]) -> list[str]:
        texts = []
        for at in range(0, len(lines), told["batch"]):
            some = [tokenizer.bos_token + line for line in lines[at : at + told["batch"]]]
            read = tokenizer(some, return_tensors="pt", padding=True)
            with torch.inference_mode():
                ids = model.generate(
                    **read, do_sample=False, pad_token_id=tokenizer.pad_token_id, **length
                )
            texts += tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text.replace("\n", " ").replace("\r", " ") for text in texts]

    return answer


def classify(told: dict) -> Answer:
    """A classifier of transformers, by its pipeline."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(told["threads"])
    name = told["model"]
    run = pipeline("text-classification", model=name, device="cpu", batch_size=told["batch"])
    return lambda lines: [each["label"] for each in run(lines)]


def sentencepiece(told: dict) -> Answer:
    """A SentencePiece model, on one thread."""
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=told["model"])
    return lambda lines: list(map(" ".join, model.encode(lines, out_type=str, num_threads=1)))


PEERS: dict[str, Callable[[dict], Answer]] = {
    each.__name__: each for each in (ctranslate2, generate, classify, sentencepiece)
}


if __name__ == "__main__":
    main()
