"""Ensembles for another purpose: chosen among generators that finished runs have trained."""

from gandask.repurposing.choosing import ensembles
from gandask.repurposing.found import Ensembles

__all__ = ["Ensembles", "ensembles"]
