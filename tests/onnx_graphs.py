"""Directories that `--to onnx` wrote, used by what stands in them alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from program import inside

from attn_cli.tokenizers.tokenizer_files import read_tokenizers


def written(place: Path) -> Path:
    """The directory that a model directory becomes."""
    target = place.with_name(f"{place.name}-onnx")
    run = inside("convert", place, "--to", "onnx", "-o", target)
    assert run.lines == [str(target)]
    assert "computes the same as PyTorch" in run.said
    return target


def session(file: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def described(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text("utf-8"))


def padded(rows: Sequence[Sequence[int]], padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows as one array, and its mask."""
    width = max(map(len, rows))
    ids = np.array([[*row, *[padding] * (width - len(row))] for row in rows], np.int64)
    return ids, np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows], np.int64)


class GreedyTranslator:
    """Writes the likeliest token again and again, as config.json tells."""

    def __init__(self, folder: Path) -> None:
        self.told = described(folder)
        self.src, self.tgt = read_tokenizers(folder)
        self.encoder = session(folder / "encoder.onnx")
        self.step = session(folder / "step.onnx")

    def encode(self, ids: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        """What a first step takes beside tokens, by name."""
        names = [each.name for each in self.encoder.get_outputs()]
        given = {"input_ids": ids, "attention_mask": mask}
        known = [each.name for each in self.encoder.get_inputs()]
        found = self.encoder.run(None, {name: given[name] for name in known})
        return {"attention_mask": mask, **dict(zip(names, found, strict=True))}

    def advance(self, tokens: np.ndarray, given: dict[str, np.ndarray]):
        """The logits, and what the next step takes."""
        known = {each.name for each in self.step.get_inputs()} - {"tokens"}
        inputs = {name: given[name] for name in known}
        logits, *state = self.step.run(None, {"tokens": tokens, **inputs})
        names = [each.name.removeprefix("new_") for each in self.step.get_outputs()[1:]]
        return logits, {**given, **dict(zip(names, state, strict=True))}

    def translate(self, lines: list[str], most: int = 60) -> list[str]:
        told, padding, end = self.told, self.src.pad_id, self.told["target_end"]
        sources = [[*ids, told["source_end"]] for ids in self.src.encode(lines)]
        given = self.encode(*padded(sources, padding))
        tokens = np.full((len(lines), 1), told["target_start"], np.int64)
        found, ended = [], np.zeros(len(lines), bool)
        while len(found) < most and not ended.all():
            logits, given = self.advance(tokens, given)
            logits[..., told["never_written"]] = -np.inf
            tokens = logits[:, -1:].argmax(-1)
            found.append(tokens[:, 0])
            ended |= tokens[:, 0] == end
        rows = np.stack(found, 1).tolist()
        return self.tgt.decode([row[: row.index(end)] if end in row else row for row in rows])
