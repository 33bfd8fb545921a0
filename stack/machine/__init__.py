"""The machine below the containers: its operating system, packages, files and units."""
