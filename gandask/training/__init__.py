"""Training a pair: networks, losses, settings, and the steps of the hot path."""
