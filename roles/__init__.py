"""One module a role, one function each; deploy.py calls them in order."""
