"""NVIDIA's driver, CUDA and container toolkit: what fits together, and what a host lacks of it."""
