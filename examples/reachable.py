"""Exit with 0 where a web address answers at all, whatever it answers: ``python reachable.py URL``."""

import sys
import urllib.error
import urllib.request

try:
    urllib.request.urlopen(sys.argv[1], timeout=5)
except urllib.error.HTTPError:
    pass  # it answers
except OSError:
    sys.exit(1)
