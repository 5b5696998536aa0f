"""What people read: the page, its tables, figures and pictures."""
