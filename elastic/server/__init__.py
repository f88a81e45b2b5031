"""The coordinator's process: the shell around its machine, the journal on disk, and the job's figures."""
