"""Scores of samples: what they are measured by, and what follows from it."""
