"""Shared parts of tests: tiny models and corpora, warm processes, a PostgreSQL server."""
