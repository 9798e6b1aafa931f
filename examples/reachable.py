"""Exit with 0 if a server answers at all, with any status: ``python reachable.py URL``."""

import sys
import urllib.error
import urllib.request

try:
    urllib.request.urlopen(sys.argv[1], timeout=5)
except urllib.error.HTTPError:
    pass  # the server answers
except OSError:
    sys.exit(1)
