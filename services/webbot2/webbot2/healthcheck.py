"""`python -m webbot2.healthcheck`: exit 0 when GET /health answers 200, else 1."""

import os
import sys
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener


def main() -> int:
    url = f"http://127.0.0.1:{os.environ.get('PORT', '8080')}/health"
    try:
        build_opener(ProxyHandler({})).open(url, timeout=4)
    except (URLError, OSError) as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
