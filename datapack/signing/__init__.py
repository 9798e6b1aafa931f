"""Signatures: statements about a dataset or an image, signed with a private key. Nothing needs a network.

The forms are those of other tools: in-toto statements in DSSE envelopes in Sigstore bundles. A signature of a dataset
is an OpenSSF Model Signing statement, which `model-signing` reads; one of an image is what cosign 3 writes and reads.
"""
