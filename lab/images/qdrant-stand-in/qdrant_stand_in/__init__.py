"""Lab stand-in for qdrant/qdrant: Qdrant's REST API over Qdrant's own engine (qdrant-edge-py)."""

from importlib.metadata import version

TITLE = "qdrant lab stand-in - vector search engine"
API_VERSION = "1.19.0"
COMMIT = "lab stand-in"
ENGINE = f"qdrant-edge-py {version('qdrant-edge-py')}"
