"""The clients that people really use, unchanged, against the proxy in front of a scripted engine."""
