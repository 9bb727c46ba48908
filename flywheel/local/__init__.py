"""The embedded engines and the demonstration: what runs Flywheel on one machine without a GPU."""
