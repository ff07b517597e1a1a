"""What keeps an alert that fires from being told, and how people write which alerts they mean."""
