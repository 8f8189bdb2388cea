"""The parametric route: placeholder import until the working models are wired."""
