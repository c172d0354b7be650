"""PrivacyGAN: students on the server's side learn from clients whose data never leave."""

from gandask.methods.privacy.method import PrivacyGAN

__all__ = ["PrivacyGAN"]
