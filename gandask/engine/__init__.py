"""The engine: a run from its first plan to its Dataset."""
