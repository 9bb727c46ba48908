"""The pages that turn the wheel, a module a stage; each view is a few lines that call the stage's module."""
