"""The doors: the commands of the project, each a module that parses options and calls one function."""
