"""What jobs do: one folder a noun, one file a verb."""
