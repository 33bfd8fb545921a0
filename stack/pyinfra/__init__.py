"""The thin layer between pyinfra and the core: facts and operations."""
