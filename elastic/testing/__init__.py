"""Tools to test jobs with: the reference run, and the simulator that breaks a whole job in one process."""
