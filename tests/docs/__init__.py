"""Tests of the documentation, as pages of Markdown and as a site."""
