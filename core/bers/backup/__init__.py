"""One file that holds everything of a node as it was at one instant: making it, looking into it, putting it back."""
