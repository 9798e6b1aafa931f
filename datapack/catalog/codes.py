"""The codes of findings, which a catalog may silence. A test holds them equal to the rules of `datapack.inspect`."""

CODES = frozenset(f"DP{number}" for number in (*range(300, 326), *range(401, 407)))
