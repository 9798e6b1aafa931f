"""The report: what a version contains, on one page that loads nothing, for people who have only its reference."""
