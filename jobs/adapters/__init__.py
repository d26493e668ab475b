"""The outside world: database, object storage, embeddings, search and HTTP."""
