"""What pages, reports and `run.plot` show of a run of PrivacyGAN, and of no other."""

from __future__ import annotations

from collections.abc import Mapping

from gandask.core import Figure

FIGURES: Mapping[str, Figure] = {}
