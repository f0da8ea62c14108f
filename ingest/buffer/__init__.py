"""Events -> batches: rows encoded for COPY when they are parsed, held within a bound."""
