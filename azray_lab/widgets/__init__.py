"""What people see and click in a notebook: the form, and the cards of clusters."""
