"""Move a research dataset into a Trusted Research Environment as a verified import container."""

__version__ = "0.2.0"
