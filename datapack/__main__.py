"""``python -m datapack``."""

import sys

from datapack.cli import main

sys.exit(main())
