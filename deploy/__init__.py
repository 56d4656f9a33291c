"""How the site is put onto a machine, and the trial of it."""
