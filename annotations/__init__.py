"""People's judgement about exchanges: queues, items, judgements, verdicts."""
