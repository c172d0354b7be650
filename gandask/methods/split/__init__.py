"""One GAN, or a few, trained on several nodes at once: BPGAN, MD-GAN and data parallelism."""

from gandask.methods.split.bpgan import BPGAN
from gandask.methods.split.data_parallel import DataParallel

__all__ = ["BPGAN", "DataParallel"]
