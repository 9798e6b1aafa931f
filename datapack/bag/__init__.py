"""The bag: a BagIt folder (RFC 8493), its manifest and tag files, and differences from them. Shared with the trainers."""
