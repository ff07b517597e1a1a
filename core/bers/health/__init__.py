"""Named health checks: made on a schedule, each behind a circuit breaker, remembered, and one word for all of them."""
