"""Train an object detector in a Trusted Research Environment, on exactly the dataset that was asked for.

`commands` shows what the program does, in a dozen lines per command. Nothing imports torch before the data is checked.
"""

__version__ = "0.2.0"
