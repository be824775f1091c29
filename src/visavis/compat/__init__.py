"""Drop-in modules for programs that were written against other packages."""
