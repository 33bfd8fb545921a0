"""Lab stand-in for NVIDIA's dcgm-exporter: the metrics of an invented GeForce RTX 4090."""

EXPORTER_VERSION = "3.3.9-3.6.1"
