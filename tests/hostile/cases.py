"""Every hostile input."""

from __future__ import annotations

import directory_cases
import text_cases
import weight_cases
from case import CASES

__all__ = ["CASES", "directory_cases", "text_cases", "weight_cases"]
