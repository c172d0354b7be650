"""An ensemble of generators that runs have trained, as it is kept: chosen, not trained."""

from gandask.methods.ensemble.method import Ensemble

__all__ = ["Ensemble"]
