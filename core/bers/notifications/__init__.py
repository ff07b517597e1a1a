"""Notifications: the durable outbox, routing, grouping and retries that every kind of channel shares."""
