from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data sets: $ATTN_DATA, or shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    place = Path(os.environ.get("ATTN_DATA") or beside)
    if not place.is_dir():
        pytest.skip("no data sets here; ATTN_DATA names their directory")
    return place
