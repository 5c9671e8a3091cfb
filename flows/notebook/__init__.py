"""What `import pairwright as pw` offers: what the verbs of the command stand on, for Python (docs/python.md)."""
