"""Check parts that other packages write for this one, in their own tests; needs no pytest."""
