"""Documents: uploaded files become searchable passages."""
