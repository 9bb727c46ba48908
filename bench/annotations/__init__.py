"""What choosing well and judging fast are worth: `make bench-annotations`."""
