"""Text files with marks for what only the lab knows."""

from collections.abc import Mapping


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put values in the place of their @NAME@ marks."""
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    return template
