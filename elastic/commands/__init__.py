"""What ``elastic`` can be told to do: each command beside its arguments."""
