"""Discretized streams on the same workers; to come."""
