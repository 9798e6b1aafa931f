"""Fetching a version: from its sources, or from DVC, to a complete bag. Each kind of source has its own module."""
