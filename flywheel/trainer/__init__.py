"""What runs in the training environment's own Python: no Django, no database, only files."""
