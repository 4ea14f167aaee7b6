"""Settings of a sort: schema, flat keywords, checks, TOML."""
