"""One GAN for each label of the data, none of which sees another."""

from gandask.methods.perlabel.method import PerLabel

__all__ = ["PerLabel"]
