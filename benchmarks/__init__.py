"""Measurements behind the performance pages: ``python -m benchmarks`` runs them."""
