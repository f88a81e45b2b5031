"""Scenarios: one job, what it runs on, what goes wrong on the way, and what is expected in the end."""
