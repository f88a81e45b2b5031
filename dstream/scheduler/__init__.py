"""What decides: which task runs where and when, and what is computed again after a loss. State machines, no I/O."""
