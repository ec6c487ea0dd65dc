"""Find out which attention heads of a language model matter for a task."""
