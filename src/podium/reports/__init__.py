"""Self-contained HTML pages: what they show, and how it looks."""
