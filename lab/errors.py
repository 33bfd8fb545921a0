"""The one exception that a user of the lab reads."""


class LabError(Exception):
    """What is wrong, and what would be right, in one sentence."""
