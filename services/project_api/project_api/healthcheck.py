"""Docker's health check: exits 0 when /health says that all is well, else 1 with what it says."""

import os
import sys
import urllib.error
import urllib.request

TIMEOUT = 5


def main() -> int:
    """The exit status."""
    url = f"http://127.0.0.1:{os.environ.get('PORT') or '8000'}/health"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=TIMEOUT):
            return 0
    except urllib.error.HTTPError as error:
        print(error.read().decode(errors="replace"))
    except OSError as error:
        print(f"{url}: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
