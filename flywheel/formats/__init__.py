"""How Django's own pages write times: as all others do, on a clock of 24 hours."""
