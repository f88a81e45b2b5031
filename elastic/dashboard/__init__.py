"""What a person sees of a run: its progress while it lasts, and the summary at its end."""
