"""Train an object detector in a Trusted Research Environment, on the data asked for and no other.

`commands` is what the program does, a dozen lines each. Nothing imports torch before the data is known to be right.
"""

__version__ = "0.1.0"
