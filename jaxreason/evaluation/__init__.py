"""From results to claims: intervals, compute, records."""
