"""The bag: a BagIt folder (RFC 8493), its manifest, its tag files, and what differs from them. Shared with the trainers."""
