"""The version of gandask, also where nobody installed it."""

VERSION = "0.1.0"
