"""``python -m elastic.worker``: started by the cluster, never by hand."""
