"""Processes that hold private data: how they are talked to, without Dask."""
