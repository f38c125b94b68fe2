"""Lines -> tokens -> batches."""
