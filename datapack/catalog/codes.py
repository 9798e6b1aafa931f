"""The codes of findings, which a catalog may silence. A test holds them equal to the rules of `datapack.inspect`."""

CODES = frozenset(
    (
        "DP300 DP301 DP302 DP303 DP304 DP305 DP306 DP307 DP308 DP309 DP310 DP311 DP312 DP313 DP314 DP315 "
        "DP316 DP317 DP318 DP319 DP320 DP321 DP322 DP323 DP324 DP325 "
        "DP401 DP402 DP403 DP404 DP405 DP406 "
    ).split()
)
