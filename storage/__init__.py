"""Results as they are KEPT: run folders with a manifest, Parquet parts and checksums; schema, queries, verification."""
