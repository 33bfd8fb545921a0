"""WebBot2: the browser chat in front of the Project API."""
