"""The project, and the turn of the wheel: datasets, training, evaluation, rollout."""
