"""The bag: a BagIt folder (RFC 8493), its manifest, its tag files, its differences. Shared with the trainers."""
