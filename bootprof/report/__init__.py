"""Tables and plots for people, JSON for machines."""
