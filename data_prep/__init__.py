"""Logs -> grouped histories -> splits -> TFRecord shards; the feature schema; the synthetic log generator."""
