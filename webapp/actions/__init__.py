"""What operators do, each with its line in the audit log: the same for pages, API and shell."""
