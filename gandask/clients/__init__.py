"""Clients that hold private data: what they answer, keep and spend."""
