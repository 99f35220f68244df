"""The DAGs, their configs, the local runner, and the root command line."""
