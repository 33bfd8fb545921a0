"""The core of the Saiga stack toolkit: plain Python, no pyinfra outside ``stack.pyinfra``."""
