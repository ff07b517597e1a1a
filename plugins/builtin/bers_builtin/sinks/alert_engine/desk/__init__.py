"""What operators ask and say over REST, and what they are answered."""
