"""Whole jobs of this model in one process under a virtual clock, broken in ways that a seed decides."""
